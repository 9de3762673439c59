"""What may go wrong on the host around a checkpoint, where VirtualBox runs as it does for users.

The tests follow each other on one machine with excluded programs; the last one ends it.
"""

from __future__ import annotations

import pytest
from sparc_lab.hm import HmMachine

from tests.e2e.faulty import Faulty
from tests.e2e.guarded import residue


@pytest.fixture(scope="module")
def faulty(guarded: Faulty) -> Faulty:
    """The machine, its holders started and excluded."""
    guarded.seed = guarded.hold()
    return guarded


def test_a_disk_that_is_full(faulty: Faulty) -> None:
    faulty.check_no_room()
    assert "VERR_DISK_FULL" in faulty.log()


def test_a_save_that_is_cancelled_in_the_middle(faulty: Faulty) -> None:
    faulty.check_cancelled()


def test_the_host_loses_its_power_in_the_middle_of_a_save(faulty: Faulty) -> None:
    """What is left of the file holds nothing either."""
    assert isinstance(faulty.machine, HmMachine)
    with faulty.while_saving("killed") as left:
        faulty.machine.cut_outer_power()
    for path in left:
        assert residue(path, faulty.seed, whole=False) == {}
    assert "killed" not in faulty.machine.checkpoints()
