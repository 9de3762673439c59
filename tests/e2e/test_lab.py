"""The lab's own promises, kept by a real VirtualBox and a real guest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sparc_lab import Lab, LabError, Settings, VirtualBoxMachine
from sparc_lab.processes import Process, wait_for

from sparc.sav.state import SavedState
from tests.e2e.conftest import WAYS
from tests.promises import check_files, check_outputs, check_typing


def test_run_returns_both_outputs_and_the_status(machine: VirtualBoxMachine) -> None:
    check_outputs(machine)


def test_run_keeps_arguments_apart(machine: VirtualBoxMachine) -> None:
    words = ["two words", "quote'", 'double"', "$HOME", "new\nline", "\\", "", "ü"]
    result = machine.run(["printf", "%s|", *words])
    assert result.stdout.decode() == "".join(f"{word}|" for word in words)


def test_run_ends_what_takes_too_long(machine: VirtualBoxMachine) -> None:
    assert machine.run(["sleep", "600"], timeout=2).status == 124
    assert machine.run(["echo", "on"]).text == "on"


def test_files_go_in_and_come_out_unchanged(machine: VirtualBoxMachine, tmp_path: Path) -> None:
    check_files(machine, tmp_path, (3 << 20) + 17)


def test_an_empty_file_is_a_file(machine: VirtualBoxMachine, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    machine.put(tmp_path / "empty", "/root/empty")
    machine.get("/root/empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_missing_file_is_an_error(machine: VirtualBoxMachine, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="No such file"):
        machine.get("/root/missing", tmp_path / "missing")


@pytest.mark.parametrize("terminal", ["tty1", "tty2", "ttyS0"])
def test_what_is_typed_reaches_the_terminal(machine: VirtualBoxMachine, terminal: str) -> None:
    check_typing(machine, terminal)


def test_the_screenshot_shows_what_was_typed(machine: VirtualBoxMachine, tmp_path: Path) -> None:
    machine.type("tty1", "clear\n")
    machine.run(["sleep", "2"])
    machine.screenshot(tmp_path / "before.png")
    machine.type("tty1", "something")
    machine.run(["sleep", "2"])
    machine.screenshot(tmp_path / "after.png")
    machine.type("tty1", "\b" * 9)
    before, after = ((tmp_path / f"{name}.png").read_bytes() for name in ("before", "after"))
    assert before.startswith(b"\x89PNG") and after.startswith(b"\x89PNG")
    assert before != after


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_can_be_gone_back_to(machine: VirtualBoxMachine, way: str) -> None:
    machine.shell("echo before > /root/mark")
    path = machine.checkpoint(f"by-{way}", way)
    assert machine.state() == ("saved" if way == "savestate" else "running")
    with SavedState(path) as saved:
        assert saved.memory.size == 128 << 20
        assert saved.header.live == (way == "live")
    if way != "savestate":
        assert machine.shell("echo after > /root/mark; cat /root/mark").text == "after"
    machine.restore(f"by-{way}")
    assert machine.run(["cat", "/root/mark"]).text == "before"
    assert machine.saved_state(f"by-{way}") == path


def test_two_machines_run_side_by_side(lab: Lab, machine: VirtualBoxMachine) -> None:
    other = lab.up(Settings("other", "virtualbox"))
    try:
        machine.shell("echo first > /root/who")
        other.shell("echo second > /root/who")
        assert machine.run(["cat", "/root/who"]).text == "first"
        assert other.run(["cat", "/root/who"]).text == "second"
        with pytest.raises(LabError, match="up already"):
            lab.up(Settings("other", "virtualbox"))
    finally:
        lab.down("other")
    assert lab.names() == ["victim"]
    assert machine.run(["echo", "still here"]).text == "still here"


_ABANDON = """
import os, sys
from sparc_lab import Lab, Settings
lab = Lab(owned=True)
machine = lab.up(Settings("left", "virtualbox"))
holder = lab.sandbox.holder()
print(lab.home, holder.pid, holder.started, flush=True)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_run_leaves_is_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ABANDON], capture_output=True, text=True, check=False
    )
    home, pid, started = done.stdout.split()
    holder = Process(int(pid), int(started))
    assert wait_for(lambda: not holder.alive(), timeout=20), "the machine outlived its owner"
    assert Path(home).exists()
    with Lab(owned=True):
        assert not Path(home).exists()
    assert home not in Path("/proc/mounts").read_text()


_PROGRAM = str(Path(sys.executable).with_name("sparc-lab"))


def _commands(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line with a home of its own."""
    environment = {**os.environ, "SPARC_LAB_HOME": str(home)}

    def sparc_lab(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False
        )

    return sparc_lab


def test_a_lab_that_was_empty_meanwhile_is_still_its_owners() -> None:
    with Lab(owned=True) as lab:
        lab.up(Settings("one", "qemu"))
        lab.down("one")
        machine = lab.up(Settings("one", "qemu"))
        with Lab(owned=True):
            assert machine.run(["echo", "on"]).text == "on"
    assert not lab.home.exists()


def test_what_a_killed_up_leaves_is_replaced_by_the_next(tmp_path: Path) -> None:
    sparc_lab = _commands(tmp_path)
    environment = {**os.environ, "SPARC_LAB_HOME": str(tmp_path)}
    record = tmp_path / "user/files/half/run/vm.json"
    try:
        with subprocess.Popen([_PROGRAM, "up", "--name", "half"], env=environment) as first:
            assert wait_for(record.exists, timeout=60, step=0.02)
            first.kill()
        left = Process.recorded(record)
        assert left is not None
        up = sparc_lab("up", "--name", "half")
        assert up.returncode == 0, up.stderr
        assert not left.alive()
        assert sparc_lab("run", "--name", "half", "--", "echo", "on").stdout == "on\n"
    finally:
        assert sparc_lab("down", "--name", "half").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "user.lock"]


def test_what_is_gone_is_replaced_and_what_is_off_is_kept(tmp_path: Path) -> None:
    sparc_lab = _commands(tmp_path)
    try:
        assert sparc_lab("up", "--name", "one").returncode == 0
        holder = Process.recorded(tmp_path / "user/holder.json")
        assert holder is not None
        holder.end(grace=0)  # As a reboot of the host does.
        (status,) = json.loads(sparc_lab("status", "--json").stdout)
        assert status["state"] == "absent"
        assert sparc_lab("up", "--name", "one").returncode == 0
        assert sparc_lab("checkpoint", "kept", "--name", "one").returncode == 0
        manage = ("host", "--", "/usr/lib/virtualbox/VBoxManage", "-q")
        assert sparc_lab(*manage, "controlvm", "one", "poweroff").returncode == 0
        refused = sparc_lab("up", "--name", "one")
        assert refused.returncode == 2 and "has checkpoints" in refused.stderr
        assert sparc_lab("restore", "kept", "--name", "one").returncode == 0
        assert sparc_lab("run", "--name", "one", "--", "echo", "on").stdout == "on\n"
        unknown = sparc_lab("down", "--name", "two")
        assert unknown.returncode == 1 and "'two' is absent" in unknown.stderr
    finally:
        assert sparc_lab("down", "--name", "one").returncode == 0


def test_nobody_else_may_look_into_a_lab(lab: Lab, machine: VirtualBoxMachine) -> None:
    for folder in (lab.home, machine.folder):
        assert folder.stat().st_mode & 0o077 == 0


def test_the_command_line_does_it_all(tmp_path: Path) -> None:
    sparc_lab = _commands(tmp_path)
    try:
        up = json.loads(sparc_lab("up", "--name", "cli", "--json").stdout)
        assert (up["state"], up["hypervisor"]) == ("running", "virtualbox")
        ran = sparc_lab("run", "--name", "cli", "--", "sh", "-c", "echo out; exit 3")
        assert (ran.stdout, ran.returncode) == ("out\n", 3)
        taken = json.loads(sparc_lab("checkpoint", "one", "--name", "cli", "--json").stdout)
        assert sparc_lab("sav", "one", "--name", "cli").stdout.strip() == taken["sav"]
        (status,) = json.loads(sparc_lab("status", "--json").stdout)
        assert status["checkpoints"] == {"one": taken["sav"]}
        missing = sparc_lab("restore", "two", "--name", "cli")
        assert missing.returncode == 1 and "no checkpoint 'two'" in missing.stderr
        assert sparc_lab("run", "--name", "nobody", "--", "true").returncode == 125
        listed = sparc_lab("host", "--", "/usr/lib/virtualbox/VBoxManage", "list", "vms").stdout
        assert '"cli"' in listed
    finally:
        assert sparc_lab("down", "--name", "cli").returncode == 0
    assert json.loads(sparc_lab("status", "--json").stdout) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "user.lock"]
