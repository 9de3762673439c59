"""What a count costs the guest, in instructions: more is a step back. `make bench` has the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sparc_lab import Lab

from tools.bench.guest_side import Counted

_MB_PAGES = 256


@pytest.fixture(scope="module")
def counted(lab: Lab) -> Iterator[Counted]:
    """A guest whose clock counts instructions."""
    counted = Counted(lab, 512)
    counted.load()
    yield counted
    lab.down(counted.machine.name)


def test_instructions_of_a_count(counted: Counted) -> None:
    """Of all RAM they are some 18 a page, and 75,000 for one more process outside."""
    plain = counted.count(0, 1)
    assert plain["instructions"] < 30 * plain["pages"]
    more = counted.count(20, 1)
    assert more["instructions"] - plain["instructions"] < 20 * 150_000
    larger = counted.count(0, 65)
    each = (larger["instructions"] - plain["instructions"]) / (64 * _MB_PAGES)
    assert each < 150
