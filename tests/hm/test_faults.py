"""What may go wrong on the host around a checkpoint, where VirtualBox runs as it does for users.

The tests follow each other on one machine with excluded programs; the last one ends it.
"""

from __future__ import annotations

import pytest
from sparc_lab import LabError
from sparc_lab.hm import HmMachine
from sparc_lab.vboxmanage import TREE

from tests.e2e.faulty import Faulty
from tests.e2e.guarded import residue

_TRIES = 5


@pytest.fixture(scope="module")
def faulty(guarded: Faulty) -> Faulty:
    """The machine, its holders started and excluded."""
    guarded.seed = guarded.hold()
    return guarded


def test_a_disk_that_is_full(faulty: Faulty) -> None:
    with faulty.small_disk() as folder:
        with pytest.raises(LabError):
            faulty.machine.checkpoint("full", "vboxmanage")
        left = faulty.machine.sandbox.run(TREE, ["find", str(folder), "-name", "*.sav"])
    assert left == ""
    assert "VERR_DISK_FULL" in faulty.log()
    assert "full" not in faulty.machine.checkpoints()
    faulty.goes_on()


def test_a_save_that_is_cancelled_in_the_middle(faulty: Faulty) -> None:
    before = faulty.states
    for _ in range(_TRIES):
        cancelled = faulty.cancel("cancelled")
        if cancelled:
            break
        # It was too late: then it is a checkpoint like any other.
        path = faulty.machine.saved_state("cancelled")
        assert residue(path, faulty.seed) == {} and faulty.last_report()["clean"]
        faulty.machine.manage("snapshot", faulty.machine.name, "delete", "cancelled")
    assert cancelled
    assert faulty.states == before
    assert "cancelled" not in faulty.machine.checkpoints()
    faulty.goes_on()


def test_the_host_loses_its_power_in_the_middle_of_a_save(faulty: Faulty) -> None:
    """What is left of the file holds nothing either."""
    assert isinstance(faulty.machine, HmMachine)
    with faulty.while_saving("killed") as left:
        faulty.machine.cut_outer_power()
    for path in left:
        assert residue(path, faulty.seed, whole=False) == {}
    assert "killed" not in faulty.machine.checkpoints()
