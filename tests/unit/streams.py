"""QEMU's streams for the unit tests: the samples, unpacked."""

from __future__ import annotations

import gzip
from pathlib import Path

from samples import DATA

__all__ = ["RAM", "SAMPLES", "TEXT", "sample"]

SAMPLES = ("plain-old", "plain-new", "mapped-new")
# As tests/unit/data/make_streams.py says.
TEXT = b"a text that stands in the memory of nobody"
RAM = 16 << 20


def sample(name: str, folder: Path) -> Path:
    """One of them, as a file."""
    path = folder / f"{name}.ckpt"
    path.write_bytes(gzip.decompress((DATA / f"{name}.stream.gz").read_bytes()))
    return path
