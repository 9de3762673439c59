"""Fixtures of tests with a guarded guest: prepared once, then gone on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import CHECKPOINT_WAYS, Lab, Settings

from tests.e2e.guarded import Guarded, furnished
from tools.protect import install_pack

SIZE = Settings("guarded", "virtualbox", memory=1024)
# Other tests take checkpoints in the first two ways all the time.
_COMMON = ("vboxmanage", "api")
WAYS = [
    *(pytest.param(way, marks=pytest.mark.long) for way in _COMMON),
    *(way for way in CHECKPOINT_WAYS if way not in _COMMON),
]
"""Each way of taking a checkpoint."""


@pytest.fixture(scope="session")
def stored(lab: Lab) -> Path:
    """The state of a machine with everything in it and victims running."""
    return furnished(lab, SIZE)


@pytest.fixture(scope="module")
def guarded_lab() -> Iterator[Lab]:
    """A lab with the extension pack, which the machines of other tests are to know nothing of."""
    with Lab(owned=True) as lab:
        install_pack(lab)
        yield lab


@pytest.fixture(scope="module")
def guarded(guarded_lab: Lab, stored: Path) -> Iterator[Guarded]:
    """A guarded machine, fresh for each test file."""
    with Guarded.up(guarded_lab, SIZE, stored) as guarded:
        yield guarded
