"""What goes wrong on the host in a checkpoint: a real QEMU, and a guest that is played."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab

from sparc.abi import Display, Reason
from sparc.qemu.devices import devices
from sparc.qemu.state import StreamState
from tests.guest.played import CANARY, FREE, PART, SECRET, STASHED, Bare, Played

_TREES = {"bookworm": "tools", "newest": "qemu"}


@pytest.fixture(scope="module", params=_TREES)
def bare(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Bare]:
    lab.start()
    lab.sandbox.add("qemu", lab.newest_qemu(), beside="tools")
    bare = Bare(lab, _TREES[request.param], f"bare-{request.param}")
    yield bare
    bare.end()


@pytest.fixture
def played(bare: Bare) -> Iterator[Played]:
    played = Played(bare)
    yield played
    played.close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def _sparc(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return _python("-m", "sparc.cli", *words, given=given)


def _python(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *words]
    return subprocess.run(
        argv, input=given, capture_output=True, text=True, check=False, timeout=100
    )


def _folder(bare: Bare, state: Path) -> Path:
    return state / "sparc/qemu" / bare.name


def _names(bare: Bare) -> list[str]:
    """Of the snapshots in its disk."""
    found = bare.qmp("query-block")
    assert isinstance(found, list)
    snapshots = found[0]["inserted"]["image"].get("snapshots", [])
    return [str(snapshot["name"]) for snapshot in snapshots]


def _whole(played: Played, before: list[bytes]) -> bool:
    return played.content() == before and played.restored == 0


def test_a_checkpoint(bare: Bare, played: Played, state: Path) -> None:
    before, blocks = played.content(), os.fstat(played.memory.files["ram0"].fd).st_blocks
    done = _sparc("checkpoint", bare.name, "--name", "one", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["report"]["pages"] == {"drop": len(FREE), "stash": len(STASHED) + 1}
    # What was free is gone, and its memory is the host's again; all else is as before.
    _await_resumed(played)
    assert _whole(played, before) and played.resumed == 1
    assert not any(any(played.memory.read(page * 4096, 4096)) for page in FREE)
    assert os.fstat(played.memory.files["ram0"].fd).st_blocks >= blocks - len(FREE) * 8
    given = "\n".join((SECRET % page).decode() for page in (*FREE, *STASHED, CANARY))
    audit = _sparc("audit", f"{bare.name}:one", "--secret-file", "-", given=given)
    assert (audit.returncode, audit.stdout.split(":")[0]) == (0, "clean"), audit.stdout
    # Of the page of which a part was kept out, the rest is there.
    kept = _sparc("audit", f"{bare.name}:one", "--secret-file", "-", given=(SECRET % PART).decode())
    assert f"RAM {PART * 4096:#014x}" in kept.stdout
    assert [name.split()[1] for name in _names(bare)] == ["one"]
    assert bare.status() == "running"
    again = _sparc("checkpoint", bare.name, "--name", "one")
    assert again.returncode == 2 and "it has a checkpoint called one already" in again.stderr


_STEPS = ("_judge", "_put_aside", "_zero", "_write", "_progress", "_go_on", "_close_up")
_KILLED = """
import os, signal, sys
from host_service.qemu import checkpoint, processes
step, number, keeper, name = sys.argv[1:]
if int(number) != signal.SIGKILL:
    # Whoever started the tests may ignore it, as nohup does.
    signal.signal(int(number), signal.SIG_DFL)
def kill(saving, *_):
    if keeper == "too":
        os.kill(saving._keeper.pid, signal.SIGKILL)
    os.kill(os.getpid() if keeper != "alone" else saving._keeper.pid, int(number))
    if keeper == "alone" or int(number) != signal.SIGKILL:
        saving._keeper._process.wait(5) if keeper == "alone" else None
        return before(saving, *_)
before = getattr(checkpoint._Saving, step)
setattr(checkpoint._Saving, step, kill)
checkpoint.take(processes.find(name), "killed")
"""


def _killed(
    bare: Bare, step: str, number: int = signal.SIGKILL, keeper: str = ""
) -> subprocess.CompletedProcess[str]:
    return _python("-c", _KILLED, step, str(int(number)), keeper, bare.name)


def _await_running(bare: Bare) -> None:
    end = time.monotonic() + 60
    while bare.status() != "running":
        assert time.monotonic() < end
        time.sleep(0.1)


def _await_resumed(played: Played) -> None:
    """Its guest looks for that now and then."""
    end = time.monotonic() + 60
    while not played.resumed and time.monotonic() < end:
        time.sleep(0.05)


def _nothing_left(bare: Bare, state: Path, snapshots: list[str]) -> None:
    """Nothing of it that could be taken for a checkpoint, within a moment."""
    end = time.monotonic() + 20
    while _names(bare) != snapshots and time.monotonic() < end:
        time.sleep(0.1)
    assert _names(bare) == snapshots
    assert [path.name for path in _folder(bare, state).glob("*")] == []
    assert "no snapshots" in _sparc("list", bare.name).stdout


@pytest.mark.parametrize("step", _STEPS)
def test_killed_at_any_step(bare: Bare, played: Played, state: Path, step: str) -> None:
    before, snapshots = played.content(), _names(bare)
    done = _killed(bare, step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    _await_running(bare)
    if step == "_close_up":
        # It was taken, and nobody has called it clean.
        (file,) = _folder(bare, state).glob("*")
        assert file.name == "killed.ckpt"
        assert "there is no report on it" in _sparc("list", bare.name).stdout
    else:
        _nothing_left(bare, state, snapshots)
    _await_resumed(played)
    assert _whole(played, before) and played.resumed == 1
    assert _sparc("checkpoint", bare.name, "--name", "after").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["_judge", "_write"])
def test_cancelled(
    bare: Bare, played: Played, state: Path, step: str, number: signal.Signals
) -> None:
    before, snapshots = played.content(), _names(bare)
    done = _killed(bare, step, number)
    assert done.returncode == 1 and "interrupted: it was cancelled" in done.stderr
    assert bare.status() == "running" and _whole(played, before)
    _nothing_left(bare, state, snapshots)


_FAILED = """
import sys
from host_service.errors import HostError
from host_service.qemu import checkpoint, processes
def fail(saving, *_):
    raise HostError("QEMU does not answer to query-migrate")
setattr(checkpoint._Saving, "_go_on", fail)
checkpoint.take(processes.find(sys.argv[1]), "killed")
"""


def test_what_cannot_be_undone_is_left_to_the_keeper(
    bare: Bare, played: Played, state: Path
) -> None:
    before, snapshots = played.content(), _names(bare)
    done = _python("-c", _FAILED, bare.name)
    assert done.returncode == 1 and "QEMU does not answer" in done.stderr
    _await_running(bare)
    _nothing_left(bare, state, snapshots)
    _await_resumed(played)
    assert _whole(played, before) and played.resumed == 1


def test_without_its_keeper_it_goes_no_further(bare: Bare, played: Played, state: Path) -> None:
    before, snapshots = played.content(), _names(bare)
    done = _killed(bare, "_put_aside", signal.SIGKILL, "alone")
    assert done.returncode == 1 and "the process that watches over it ended" in done.stderr
    assert bare.status() == "running" and _whole(played, before)
    _nothing_left(bare, state, snapshots)


def test_killed_with_its_keeper_the_guest_is_as_restored(
    bare: Bare, played: Played, state: Path
) -> None:
    """It stands still; who lets it go on has a guest in which the excluded are ended."""
    done = _killed(bare, "_write", signal.SIGKILL, "too")
    assert done.returncode == -signal.SIGKILL
    assert bare.status() == "paused"
    assert not any(played.memory.read(CANARY * 4096, 4096))
    assert "no snapshots" in _sparc("list", bare.name).stdout
    bare.qmp("cont")


def test_a_disk_that_is_full(bare: Bare, played: Played, state: Path) -> None:
    before, snapshots = played.content(), _names(bare)
    small = state / "sparc"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", str(small)], check=True)
    try:
        done = _sparc("checkpoint", bare.name)
        assert done.returncode == 2 and "No space left on device" in done.stderr
        assert bare.status() == "running" and _whole(played, before)
        _nothing_left(bare, state, snapshots)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_guest_that_cannot(bare: Bare, state: Path) -> None:
    played = Played(bare, fails=Reason.FREEZE)
    try:
        done = _sparc("checkpoint", bare.name, "--name", "one")
        assert done.returncode == 2 and "a process could not be frozen" in done.stderr
        assert _sparc("host", "policy", bare.name, "warn").returncode == 0
        done = _sparc("checkpoint", bare.name, "--name", "one")
        assert done.returncode == 1 and "NOT CLEAN" in done.stderr
        given = (SECRET % STASHED[0]).decode()
        found = _sparc("audit", f"{bare.name}:one", "--secret-file", "-", given=given)
        assert found.returncode == 1
    finally:
        played.close()


def test_a_guest_that_says_nothing(bare: Bare, played: Played, state: Path) -> None:
    played.silent = True
    _sparc("host", "policy", bare.name, "strict", "--timeout", "300")
    done = _sparc("checkpoint", bare.name)
    assert done.returncode == 2 and "did not answer within 300 ms" in done.stderr
    assert bare.status() == "running"


def _with(bare: Bare, name: str, display: Display) -> Path:
    """A checkpoint of a guest that asks for that."""
    played = Played(bare, display=display)
    try:
        done = _sparc("checkpoint", bare.name, "--name", name, "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["report"]["display"] == name.partition("-")[0]
        assert (told["report"]["display_bytes"] > 0) == (display != Display.KEEP)
        return Path(told["state_file"])
    finally:
        played.close()


def _on_the_screen(file: Path) -> bool:
    """Whether what the firmware writes there is in video memory."""
    found = _sparc("audit", str(file), "--secret-file", "-", "--json", given="SeaBIOS (version")
    return any(one["encoding"] == "console" for one in json.loads(found.stdout)["findings"])


def test_the_screen_and_keys(bare: Bare, state: Path) -> None:
    # So that what it writes first is there still.
    bare.qmp("system_reset")
    time.sleep(3)
    keys = [{"type": "qcode", "data": letter} for letter in "secret"]
    for key in keys:
        bare.qmp("send-key", keys=[key])
    screens = {}
    for display in Display:
        name = display.name.lower()
        file = _with(bare, name, display)
        screens[display] = _on_the_screen(file)
        with StreamState(file) as saved:
            found = devices(saved.unit_bytes("devices"))
            data = saved.unit_bytes("devices")
        (keyboard,) = (device for device in found if device.kind == "ps2kbd")
        queue = keyboard.value("queue.data")
        assert queue is not None and not any(data[queue.start : queue.start + queue.size])
    assert screens == {Display.KEEP: True, Display.TEXT: False, Display.ALL: False}
    assert bare.status() == "running"


def test_settings_that_would_leave_memory_out(bare: Bare, played: Played, state: Path) -> None:
    """They are set back afterwards."""
    on = [{"capability": "x-ignore-shared", "state": True}]
    bare.qmp("migrate-set-capabilities", capabilities=on)
    assert _sparc("checkpoint", bare.name, "--name", "one").returncode == 0
    known = bare.qmp("query-migrate-capabilities")
    assert isinstance(known, list)
    assert {"capability": "x-ignore-shared", "state": True} in known
    bare.qmp("migrate-set-capabilities", capabilities=[{**on[0], "state": False}])
    given = (SECRET % PART).decode()
    assert _sparc("audit", f"{bare.name}:one", "--secret-file", "-", given=given).returncode == 1


def test_a_vm_that_is_paused_or_held_by_another(bare: Bare, played: Played, state: Path) -> None:
    bare.qmp("stop")
    done = _sparc("checkpoint", bare.name)
    assert done.returncode == 2 and "the VM is not running (paused)" in done.stderr
    bare.qmp("cont")
    from host_service.qemu.monitor import Monitor

    with Monitor(bare.socket):
        done = _sparc("checkpoint", bare.name)
    assert done.returncode == 2 and "QEMU does not answer" in done.stderr


def test_how_it_stands(bare: Bare, played: Played, state: Path) -> None:
    before = played.content()
    told = json.loads(_sparc("status", bare.name, "--json").stdout)
    assert (told["state"], told["pack"]["module"], told["pack"]["members"]) == ("running", True, 1)
    assert told["pack"]["version"].startswith("QEMU ") and told["last"] is None
    _sparc("checkpoint", bare.name, "--name", "one")
    text = _sparc("status").stdout
    assert "  checkpoint  one: clean" in text and "  excluded    processes: 1" in text
    assert _whole(played, before)


def test_a_vm_that_shares_no_memory(lab: Lab, bare: Bare, state: Path) -> None:
    other = Bare(lab, bare.tree, f"{bare.name}-own", shared=False)
    try:
        for words in ([other.name], [str(other.socket)], ["x", "--qmp", str(other.socket)]):
            done = _sparc("checkpoint", *words)
            assert done.returncode == 2, done.stdout
            assert "QEMU does not share the guest's memory" in done.stderr
            assert "-object memory-backend-memfd,id=ram0,size=64M,share=on" in done.stderr
    finally:
        other.end()


@pytest.fixture
def programs(lab: Lab, bare: Bare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab's QEMU and qemu-img as if they were this machine's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, tree in (("qemu-system-x86_64", bare.tree), ("qemu-img", "tools")):
        program = folder / name
        line = shlex.join(lab.sandbox.argv(tree, [name]))
        program.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("programs")
def test_a_restore(bare: Bare, played: Played, state: Path) -> None:
    assert _sparc("checkpoint", bare.name, "--name", "one").returncode == 0
    refused = _sparc("restore", bare.name, "one")
    assert refused.returncode == 2 and "the VM is running" in refused.stderr
    played.memory.write(PART * 4096 + 2000, b"later")
    done = _sparc("restore", bare.name, "one", "--force")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{bare.name} runs (qemu), restored from one")
    assert bare.status() == "running"
    _as_checkpointed(bare)
    log = _sparc("log", bare.name).stdout
    assert "restored    one, runs (qemu); clean" in log
    # Once more, from one that is off; and into one that its manager has started.
    bare.qmp("stop")
    bare.quit()
    assert _sparc("restore", bare.name, "one").returncode == 0
    _as_checkpointed(bare)
    bare.quit()
    bare.start([*bare.argv, "-incoming", "defer"])
    done = _sparc("restore", bare.name, "one", "--qmp", str(bare.socket))
    assert done.returncode == 0, done.stderr
    _as_checkpointed(bare)
    assert bare.status() == "running"
    again = _sparc("restore", bare.name, "one", "--qmp", str(bare.socket))
    assert again.returncode == 2 and "QEMU does not wait for a state" in again.stderr


@pytest.mark.usefixtures("programs")
def test_a_state_that_does_not_fit(bare: Bare, played: Played, state: Path) -> None:
    assert _sparc("checkpoint", bare.name, "--name", "one").returncode == 0
    file = _folder(bare, state) / "one.ckpt"
    file.write_bytes(file.read_bytes()[:100_000])
    assert "NOT CLEAN" in _sparc("list", bare.name).stdout
    bare.quit()
    done = _sparc("restore", bare.name, "one")
    assert done.returncode == 2, done.stdout
    bare.start(bare.argv)


def _as_checkpointed(bare: Bare) -> None:
    found = _memory(bare, PART)
    assert found[:100] == (SECRET % PART).ljust(100, b".") and found[100:300] == bytes(200)
    assert found[2000:2005] == b"....."
    assert not any(_memory(bare, CANARY))


def _memory(bare: Bare, page: int) -> bytes:
    """A page of the VM that runs now, by QEMU's own word."""
    target = bare.lab.sandbox.files / "page"
    bare.qmp("pmemsave", val=page * 4096, size=4096, filename=str(target))
    return target.read_bytes()
