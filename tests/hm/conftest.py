"""Fixtures of tests on VirtualBox with hardware virtualisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, Settings

from tests.e2e.faulty import Faulty
from tests.e2e.guarded import furnished
from tools.protect import install_pack

SIZE = Settings("hm", "hm", memory=1024, cpus=2)


@pytest.fixture(scope="session")
def stored(lab: Lab) -> Path:
    """The state of a machine with everything in it and victims running."""
    return furnished(lab, SIZE)


@pytest.fixture(scope="module")
def guarded_lab() -> Iterator[Lab]:
    """A lab with the extension pack, until its last machine is down."""
    with Lab(owned=True) as lab:
        install_pack(lab)
        yield lab


@pytest.fixture(scope="module")
def guarded(guarded_lab: Lab, stored: Path) -> Iterator[Faulty]:
    """A guarded machine with two CPUs, whose memory VirtualBox maps in large pages if it can."""
    with Faulty.up(guarded_lab, SIZE, stored, hardware=["--large-pages", "on"]) as guarded:
        yield guarded
