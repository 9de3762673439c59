"""The guest's list of what to leave out, in a saved state: read whole, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from parked import PAGE, parked
from samples import Make

from sparc import abi
from sparc.sav.manifest import Manifest, NoManifest, read_manifest
from sparc.sav.state import SavedState

PAGES = 256


def read(make: Make, pages: dict[int, bytes]) -> Manifest:
    with SavedState(make({**dict.fromkeys(range(PAGES), bytes(PAGE)), **pages})) as state:
        return read_manifest(state)


def test_what_it_lists(make: Make) -> None:
    extents = [(50 * PAGE + 8, 100, abi.Kind.PIPE), (51 * PAGE, PAGE, abi.Kind.TTY)]
    found = read(make, parked(PAGES, range(100, 120), [60, 61], extents))
    assert np.flatnonzero(found.drop).tolist() == list(range(100, 120))
    assert np.flatnonzero(found.stash).tolist() == [40, 60, 61]
    assert [tuple(extent) for extent in found.extents.tolist()] == extents
    assert found.taken_out and len(found.drop) == len(found.stash) == PAGES


def test_one_whose_content_was_saved_after_all(make: Make) -> None:
    assert not read(make, parked(PAGES, canary_left=True)).taken_out


def test_a_guest_without_sparc(make: Make) -> None:
    with pytest.raises(NoManifest) as caught:
        read(make, {5: b"x" * PAGE})
    assert not caught.value.module


def test_a_mailbox_elsewhere_is_none(make: Make) -> None:
    moved = {page + 1: data for page, data in parked(PAGES).items()}
    with pytest.raises(NoManifest) as caught:
        read(make, moved)
    assert not caught.value.module


LIES: list[dict[str, Any]] = [
    {"state": abi.State.IDLE},
    {"state": abi.State.FAILED},
    {"state": 77},
    {"version": 9},
    {"head": {"sequence": 2}},
    {"head": {"ram_pages": PAGES + 1}},
    {"head": {"ram_pages": 1 << 63}},
    {"head": {"run_bytes": 1 << 62}},
    {"head": {"run_bytes": 10}},
    {"head": {"run_bytes": 0, "run_crc": 0}},
    {"head": {"extents": (1 << 22) + 1}},
    {"head": {"extents": 1 << 31}},
    {"head": {"directories": 0}},
    {"head": {"directories": 1 << 31}},
    {"head": {"canary_gpa": 1 << 40}},
    {"head": {"canary_gpa": 0xA0000}},
    {"run_flip": 3},
    {"directory": 1 << 40},
    {"directory": 17 * PAGE + 8},
    {"drop": [60], "stash": [60]},
    {"extents": [(PAGES * PAGE, 8, 0)]},
    {"extents": [((1 << 64) - 8, 8, 0)]},
    {"extents": [(50 * PAGE + 1, PAGE, 0)]},
    {"extents": [(50 * PAGE, 1 << 31, 0)]},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_liar_is_refused(make: Make, lie: dict[str, Any]) -> None:
    pages = parked(PAGES, **lie)
    # As VirtualBox has none in the window of ROMs.
    whole = {page: bytes(PAGE) for page in range(PAGES) if not 0xA0 <= page < 0x100}
    with pytest.raises(NoManifest) as caught, SavedState(make({**whole, **pages})) as state:
        read_manifest(state)
    assert caught.value.module and caught.value.cause
