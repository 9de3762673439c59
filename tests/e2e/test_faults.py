"""What may go wrong on the host around a checkpoint. In each case the machine goes on unharmed, and
what is saved is clean, or says that it is not.

The tests follow each other on one machine with excluded programs; the last one ends it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
from sparc_lab import LabError
from sparc_lab.processes import wait_for
from sparc_lab.vboxmanage import TREE

from tests.e2e.faulty import SHOWN, Faulty
from tests.e2e.guarded import Guarded, residue
from tools.protect import install_pack, uninstall_pack


@pytest.fixture(scope="module")
def faulty(guarded: Guarded) -> Faulty:
    """The machine, its holders started and excluded."""
    faulty = Faulty(guarded.lab, guarded.machine)
    faulty.seed = faulty.hold()
    return faulty


@pytest.fixture(scope="module")
def commands(faulty: Faulty) -> Path:
    """The folder of sparc's commands on the side of the host."""
    return faulty.lab.install(Path(__file__).parents[2])


def test_a_disk_that_is_full(faulty: Faulty) -> None:
    faulty.check_no_room()
    assert "VERR_DISK_FULL" in faulty.log()


def test_a_save_that_is_cancelled_in_the_middle(faulty: Faulty) -> None:
    faulty.check_cancelled()


def test_no_memory_for_what_is_taken_out(faulty: Faulty) -> None:
    """Refused, and by then everything is where it was."""
    before = faulty.states
    pid = faulty.process.pid
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    old = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), old[1]))
    try:
        with pytest.raises(LabError):
            faulty.machine.checkpoint("no memory", "vboxmanage")
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, old)
    assert faulty.states == before
    assert "no memory" not in faulty.machine.checkpoints()
    assert "(no-memory)" in faulty.log() and SHOWN in faulty.log()
    faulty.goes_on()


@pytest.mark.long
def test_two_checkpoints_asked_for_at_once(faulty: Faulty) -> None:
    name = faulty.machine.name
    asked = [faulty.command("snapshot", name, "take", f"at once {n}") for n in range(2)]
    said = [process.communicate(timeout=300)[0] for process in asked]
    taken = [found for found in faulty.machine.checkpoints() if found.startswith("at once")]
    assert taken and len(taken) == sum(process.returncode == 0 for process in asked), said
    for found in taken:
        path = faulty.machine.saved_state(found)
        assert residue(path, faulty.seed) == {}
        report = json.loads(path.with_name(path.stem + ".sparc.json").read_text())
        assert report["clean"] and report["saved"]
    faulty.goes_on()


def test_the_host_stands_still_while_the_guest_parks(faulty: Faulty) -> None:
    """As when a laptop is closed: nobody's clock says so. A second later it goes on as if not."""
    process = faulty.command("snapshot", faulty.machine.name, "take", "slept")
    time.sleep(2)
    with faulty.process.held_still():
        time.sleep(20)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    path = faulty.machine.saved_state("slept")
    assert residue(path, faulty.seed) == {} and faulty.last_report()["clean"]
    faulty.goes_on()


@pytest.mark.parametrize(
    "fate", [signal.SIGSTOP, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_the_hosts_service_does_not_answer_or_is_gone(
    faulty: Faulty, commands: Path, fate: signal.Signals
) -> None:
    """The report beside the file is there all the same, and nobody waits."""
    sandbox = faulty.lab.sandbox
    log = sandbox.files / f"hostd.{fate.name}.log"
    environment = faulty.machine.installation.variables
    daemon = sandbox.spawn(TREE, [str(commands / "sparc-hostd")], log=log, env=environment)
    try:
        assert wait_for(lambda: "listening" in log.read_text(), timeout=30)
        os.kill(daemon.pid, fate)
        path, report = faulty.checkpoint(f"with hostd {fate.name}", "vboxmanage")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGCONT)
        daemon.end()
    assert report["clean"] and residue(path, faulty.seed) == {}
    faulty.goes_on()


def test_the_pack_is_taken_out_under_a_running_machine(faulty: Faulty) -> None:
    """What is in its process stays there, or VirtualBox refuses to take it out."""
    with contextlib.suppress(LabError):
        uninstall_pack(faulty.lab)
    path, report = faulty.checkpoint("without the pack's files", "vboxmanage")
    assert report["clean"] and residue(path, faulty.seed) == {}
    faulty.goes_on()


def test_the_machines_process_is_killed_in_the_middle_of_a_save(faulty: Faulty) -> None:
    """What is left is nothing that VirtualBox restores, and holds nothing either."""
    for path in faulty.kill_while_saving():
        assert residue(path, faulty.seed, whole=False) == {}
    assert "killed" not in faulty.machine.checkpoints()
    name = faulty.machine.name
    faulty.machine.manage("snapshot", name, "restore", "without the pack's files")


def test_a_save_that_is_cancelled_in_the_window(faulty: Faulty) -> None:
    """Of which VirtualBox 7.2.22 often dies by itself, with the pack and without."""
    install_pack(faulty.lab)
    faulty.machine.restore("slept")
    faulty.seed = faulty.hold()
    before = faulty.states
    assert faulty.cancel_in_window("cancelled")
    assert faulty.states == before
    assert "VERR_SSM_CANCELLED" in faulty.log() and SHOWN not in faulty.log()
    if faulty.machine.recorded("vm"):
        faulty.goes_on()


@pytest.mark.long
def test_a_disk_that_cannot_be_written(faulty: Faulty) -> None:
    """After which VirtualBox 7.2.22 has lost the machine's disks, with the pack and without."""
    if faulty.machine.recorded("vm") is None:
        faulty.machine.restore("slept")
        faulty.seed = faulty.hold()
    faulty.check_no_room("ro")
    assert "VERR_WRITE_PROTECT" in faulty.log()
