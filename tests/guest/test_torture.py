"""Everything in which a process can leave something: what the module keeps out of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sparc_lab import Lab, QemuMachine, Settings

from tests.e2e.victims.programs import (
    CONTROL_RUNS,
    LET_GO_BEFORE,
    LETTERS,
    MAY_BE_GONE,
    TORTURE_CLASSES,
)
from tests.guest.manifest import Manifest
from tests.guest.torture import Torture, find

_COMPLAINTS = "WARNING|BUG|Oops|stall|lockup|Call Trace|hung task|[Bb]ad page|corrupt"


@pytest.fixture(scope="module")
def torture(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Torture]:
    torture = Torture(lab, guest, kernel)
    yield torture
    torture.close()


@pytest.fixture
def tall(lab: Lab, kernel: str) -> Iterator[Torture]:
    """A guest with memory that its card and its disk cannot reach: half of it lies above 4 GB."""
    machine = lab.up(Settings("tall", "qemu", memory=1024, cpus=2, kernel=kernel, low=512))
    try:
        assert isinstance(machine, QemuMachine)
        torture = Torture(lab, machine, kernel)
        yield torture
        torture.close()
    finally:
        lab.down("tall")


def _missed(torture: Torture, seed: int) -> dict[str, list[str]]:
    """What stands where and is not kept out, by class."""
    _, ram = torture.look()
    manifest = Manifest.of(ram)
    missed = {}
    for name, places in find(ram, seed, TORTURE_CLASSES).items():
        covered = manifest.covers((places[:, None] + np.arange(LETTERS)).ravel())
        left = places[~covered.reshape(-1, LETTERS).all(axis=1)]
        if len(left):
            missed[name] = [f"{place:#x}" for place in left[:8]]
    return missed


@pytest.mark.every_kernel
def test_without_exclusion_every_secret_is_there(torture: Torture) -> None:
    """Else the tests that find none would prove nothing."""
    found = set(MAY_BE_GONE)
    for _ in range(CONTROL_RUNS):
        seed = torture.plant("none")
        found |= set(find(torture.memory(), seed, TORTURE_CLASSES))
        planted = torture.planted() | MAY_BE_GONE
        torture.end()
        if found == planted:
            break
    assert found == planted


def test_excluded_from_the_beginning(torture: Torture) -> None:
    seed = torture.plant("first")
    assert _missed(torture, seed) == {}
    assert torture.verify().startswith("ok")
    torture.end()


@pytest.mark.every_kernel
def test_excluded_late(torture: Torture) -> None:
    seed = torture.plant("late")
    assert set(_missed(torture, seed)) <= LET_GO_BEFORE
    torture.end()


def test_a_restored_guest_goes_on(torture: Torture) -> None:
    torture.plant("first")
    torture.restore()
    assert torture.verdict().startswith("ok")
    assert torture.ok(f"dmesg | grep -E '{_COMPLAINTS}' || true") == ""


def test_memory_above_four_gigabytes(tall: Torture) -> None:
    seed = tall.plant("first")
    assert _missed(tall, seed) == {}
    tall.restore()
    assert tall.verdict().startswith("ok")
    assert tall.ok(f"dmesg | grep -E '{_COMPLAINTS}' || true") == ""
