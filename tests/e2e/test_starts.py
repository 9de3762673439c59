"""Guests that are dead, that go down, and that are only just restored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, LabError
from sparc_lab.processes import wait_for

from tests.e2e.conftest import SIZE
from tests.e2e.faulty import Faulty
from tests.e2e.guarded import residue
from tools.protect import install_pack

pytestmark = pytest.mark.long
_BOOT_SECONDS = 300


@pytest.fixture
def faulty(stored: Path) -> Iterator[Faulty]:
    """A machine for each test: afterwards there is not much left of it."""
    with Lab(owned=True) as lab:
        install_pack(lab)
        with Faulty.up(lab, SIZE, stored) as faulty:
            assert isinstance(faulty, Faulty)
            yield faulty


def _sysrq(faulty: Faulty, key: str) -> None:
    """Nobody answers any more."""
    with contextlib.suppress(LabError):
        script = f"sync; echo 1 > /proc/sys/kernel/sysrq; echo {key} > /proc/sysrq-trigger"
        faulty.machine.shell(script, 5)


def _panicked(faulty: Faulty) -> None:
    """Have its kernel panic, and stay so."""
    faulty.sh("echo 0 > /proc/sys/kernel/panic")
    console = faulty.machine.folder / "ttyS0.log"
    _sysrq(faulty, "c")
    dead = lambda: "end Kernel panic" in console.read_text(errors="replace")  # noqa: E731
    assert wait_for(dead, timeout=_BOOT_SECONDS, step=0.2)


def test_a_checkpoint_while_it_is_restored(faulty: Faulty) -> None:
    """Refused, or clean: what was killed is in no checkpoint either."""
    seed = faulty.hold()
    faulty.checkpoint("first", "vboxmanage")
    restores = faulty.restores()
    machine = faulty.machine
    machine.power_off()
    machine.manage("snapshot", machine.name, "restore", "first")
    machine.start_relay()
    process = machine.launch()
    assert wait_for(lambda: machine.state() != "saved", timeout=60, step=0.05)
    said = []

    def taken() -> bool:
        asked = faulty.command("snapshot", machine.name, "take", "early")
        said.append(asked.communicate(timeout=300)[0])
        return asked.returncode == 0

    assert wait_for(taken, timeout=900, step=0.1), said[-1]
    path = machine.saved_state("early")
    assert residue(path, seed) == {} and faulty.last_report()["clean"]
    machine.await_agent(process, _BOOT_SECONDS)
    faulty.await_restored(restores + 1)
    assert faulty.holders_alive() == []
    faulty.check_survivors()
    faulty.check_kernel()


def test_a_kernel_that_panicked(faulty: Faulty) -> None:
    """Whoever wants to know why can save it. That is not clean."""
    seed = faulty.hold()
    _panicked(faulty)
    path, report = faulty.checkpoint("panicked", "vboxmanage")
    assert (report["clean"], report["reason"]) == (False, "no-module")
    assert residue(path, seed)


def test_a_guest_that_goes_down_and_starts_anew(faulty: Faulty) -> None:
    """VirtualBox clears its memory; nothing that was said before is believed."""
    seed = faulty.hold()
    path, report = faulty.checkpoint("before", "vboxmanage")
    assert report["clean"] and residue(path, seed) == {}
    _sysrq(faulty, "b")
    reset = lambda: "from 'RESETTING' to 'RUNNING'" in faulty.log()  # noqa: E731
    assert wait_for(reset, timeout=_BOOT_SECONDS, step=0.2)
    path, report = faulty.checkpoint("after", "vboxmanage")
    assert (report["clean"], report["reason"]) == (False, "no-module")
    assert residue(path, seed) == {}
