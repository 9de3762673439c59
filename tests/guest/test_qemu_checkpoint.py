"""Checkpoints of VMs under QEMU, stock and as users run them: bookworm's and the newest."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sparc_lab import Lab, QemuMachine, Settings

from host_service.qemu import checkpoint, processes
from sparc import abi
from tests.guest.qemu_vm import VmUnderQemu

_VERSIONS = {"bookworm": ("debian-6.1", False), "newest": ("debian-7.2", True)}


@pytest.fixture(scope="module", params=_VERSIONS)
def vm(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VmUnderQemu]:
    kernel, newest = _VERSIONS[request.param]
    settings = Settings(
        f"q-{request.param}", "qemu", memory=256, kernel=kernel, shared=True, newest=newest
    )
    machine = lab.up(settings)
    assert isinstance(machine, QemuMachine)
    try:
        yield VmUnderQemu(lab, machine, kernel, tmp_path_factory.mktemp("state"))
    finally:
        lab.down(settings.name)


def test_the_excluded_are_in_no_checkpoint(vm: VmUnderQemu) -> None:
    with vm.holding(excluded=True) as victim, vm.holding(excluded=False) as bystander:
        done = vm.sparc("checkpoint", vm.name, "--name", "excluded", "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        file = Path(told["state_file"])
        assert told["clean"] and told["report"]["excluded"][0]["pid"] == victim.pid
        assert file.stat().st_mode & 0o777 == 0o600 and vm.folder.stat().st_mode & 0o777 == 0o700
        assert vm.found(file, victim) == set()
        # That nothing is found is no proof where nothing can be.
        assert vm.found(file, bystander) == set(range(1, len(bystander.secrets) + 1))
        assert victim.goes_on() and bystander.goes_on()
        assert vm.status()["checkpoint"]["outcome"] == "resumed"
        vm.ok(f"sparc include {victim.pid}")
        included = vm.taken("included")
        assert vm.found(f"{vm.name}:included", victim) == vm.found(included, victim) != set()
    listed = {entry["name"]: entry for entry in vm.json("list", vm.name)["snapshots"]}
    assert {name: entry["clean"] for name, entry in listed.items()} == {
        "excluded": True,
        "included": True,
    }
    page = vm.folder.parent / "page.html"
    assert vm.sparc("report", f"{vm.name}:excluded", "--html", str(page)).returncode == 0
    assert "QEMU" in page.read_text()
    # A report is believed of its own file only.
    report = vm.folder / "included.sparc.json"
    text = report.read_text()
    report.write_text(
        (vm.folder / "excluded.sparc.json").read_text().replace("excluded", "included")
    )
    assert vm.sparc("list", vm.name).stdout.count("cannot be believed") == 1
    report.write_text(text)


def test_the_guest_goes_on_with_the_same_memory(
    vm: VmUnderQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every page of RAM but free ones: before anything is put aside, and when all is put back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(vm.state))
    before: dict[int, Any] = {}
    compared = []
    put_aside, let_go = checkpoint._Saving._put_aside, checkpoint._Saving._let_go

    def remember(saving: checkpoint._Saving) -> bool:
        for part in saving.memory.parts:
            before[part.gpa] = np.frombuffer(saving.memory.read(part.gpa, part.length), np.uint8)
        return put_aside(saving)

    def compare(saving: checkpoint._Saving) -> None:
        manifest = saving.outcome.manifest
        if manifest is not None and saving.monitor.status() != "running":
            for gpa, old in before.items():
                new = np.frombuffer(saving.memory.read(gpa, len(old)), np.uint8)
                pages = np.flatnonzero((old != new).reshape(-1, abi.PAGE_SIZE).any(axis=1))
                frames = pages + gpa // abi.PAGE_SIZE
                frames = frames[frames < len(manifest.drop)]
                compared.append(frames[~manifest.drop[frames]].tolist())
        let_go(saving)

    monkeypatch.setattr(checkpoint._Saving, "_put_aside", remember)
    monkeypatch.setattr(checkpoint._Saving, "_let_go", compare)
    with vm.holding(excluded=True) as victim:
        process = processes.find(vm.name)
        assert process is not None
        checkpoint.take(process, "same")
        assert compared and not any(compared)
        assert victim.goes_on()


def test_a_restore_ends_the_excluded_and_nobody_else(
    vm: VmUnderQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vm.holding(excluded=True) as victim, vm.holding(excluded=False) as bystander:
        vm.taken("back")
        vm.ok("echo later >/root/later; sync")
        vm.restore("back", monkeypatch)
        assert bystander.goes_on() and not victim.lives()
        # The disk is that of the checkpoint, too.
        assert vm.sh("cat /root/later").status != 0
        assert [one["pid"] for one in vm.status()["restore"]["killed"]] == [victim.pid]
        assert vm.json("list", vm.name)["state"] == "running"
    # And it can be checkpointed again.
    with vm.holding(excluded=True) as victim:
        assert vm.found(vm.taken("again"), victim) == set()


# At the beginning of these the process that takes a checkpoint is killed; test_qemu_host.py has
# the others.
_STEPS = ("_zero", "_progress", "_go_on")
_KILLED = """
import os, signal, sys
from host_service.qemu import checkpoint, processes
step, keeper, name = sys.argv[1:]
def kill(saving, *_):
    if keeper == "too":
        os.kill(saving._keeper.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(checkpoint._Saving, step, kill)
checkpoint.take(processes.find(name), "killed")
"""


def _killed(vm: VmUnderQemu, step: str, keeper: str = "") -> None:
    done = vm.python("-c", _KILLED, step, keeper, vm.name)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _nothing_left(vm: VmUnderQemu, snapshots: list[str]) -> None:
    assert not [path.name for path in vm.folder.iterdir() if "killed" in path.name]
    assert vm.disk_snapshots() == snapshots


@pytest.mark.parametrize("step", _STEPS)
def test_who_is_killed_meanwhile_harms_nobody(vm: VmUnderQemu, step: str) -> None:
    snapshots = vm.disk_snapshots()
    with vm.holding(excluded=True) as victim:
        _killed(vm, step)
        end = time.monotonic() + 60
        while vm.machine.state() != "running" and time.monotonic() < end:
            time.sleep(0.2)
        assert vm.machine.state() == "running"
        assert victim.goes_on()
        _nothing_left(vm, snapshots)
        assert vm.found(vm.taken(f"after{step}"), victim) == set()


def test_killed_with_its_keeper_the_guest_is_as_restored(vm: VmUnderQemu) -> None:
    with vm.holding(excluded=True) as victim, vm.holding(excluded=False) as bystander:
        _killed(vm, "_write", "too")
        assert vm.machine.state() == "paused"
        assert vm.sparc("list", vm.name).stdout.count("killed") == 0
        vm.machine.resume()
        assert bystander.goes_on() and not victim.lives()


def test_what_is_refused(vm: VmUnderQemu) -> None:
    with vm.holding(excluded=True) as victim:
        vm.ok("guestd stop")
        done = vm.sparc("checkpoint", vm.name, "--name", "refused")
        assert done.returncode == 2 and "sparc-guestd was not running" in done.stderr
        assert not (vm.folder / "refused.ckpt").exists()
        vm.sparc("host", "policy", vm.name, "warn")
        done = vm.sparc("checkpoint", vm.name, "--name", "warned")
        assert done.returncode == 1 and "NOT CLEAN" in done.stderr
        assert vm.found(vm.folder / "warned.ckpt", victim) != set()
        vm.sparc("host", "policy", vm.name, "strict")
        vm.ok("guestd start")
        assert vm.machine.state() == "running" and victim.goes_on()
