"""Page tables of processes, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sparc.errors import KernelNotRead, PageNotStored
from sparc.sav import c_pgm
from sparc.sav.index import RAM
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    import numpy.typing as npt

    Entries = npt.NDArray[np.uint64]
    Frames = npt.NDArray[np.int64]

__all__ = ["Mapped", "mapped"]

_PAGE = c_pgm.PAGE
_ENTRIES = 512
_PRESENT, _LEAF, _PROTNONE, _SPECIAL = (np.uint64(n) for n in (0x1, 0x80, 0x100, 0x200))
_FRAME_MASK = np.uint64(0x000F_FFFF_FFFF_F000)


@dataclass(frozen=True, slots=True)
class Mapped:
    """The page frames that a space maps (numbers, each as often as it is mapped), and how many
    pages it has that are elsewhere: in swap, or on their way."""

    frames: Frames
    absent: int


def mapped(state: SavedState, top: int, levels: int) -> Mapped:
    """What is mapped for programs by the tables whose uppermost stands at the GPA `top`.

    Only frames of RAM. Raises KernelNotRead.
    """
    found: list[Frames] = []
    absent = 0
    tables = [top // _PAGE]
    for level in range(levels, 0, -1):
        below: list[int] = []
        for entries in _read(state, tables, upper=level == levels):
            there = entries & (_PRESENT | _PROTNONE) != 0
            leaf = there & ((entries & _LEAF != 0) if 1 < level <= 3 else np.bool_(level == 1))
            if level == 1:
                leaf = leaf & (entries & _SPECIAL == 0)
            size = _ENTRIES ** (level - 1)
            if leaf.any():
                first = _frames(entries[leaf]) & -size
                found.append((first[:, None] + np.arange(size)).ravel())
            absent += size * int(np.count_nonzero((entries != 0) & ~there)) if level <= 2 else 0
            below += _frames(entries[(entries & _PRESENT != 0) & ~leaf]).tolist()
        tables = below if level > 1 else []
    frames = np.concatenate(found) if found else np.empty(0, np.int64)
    table = state.index.table(RAM)
    inside = frames[frames < len(table)]
    return Mapped(inside[table[inside] > 0], absent)


def _read(state: SavedState, tables: list[int], *, upper: bool) -> Iterator[Entries]:
    for number in tables:
        try:
            data = state.page(number * _PAGE)
        except PageNotStored as error:
            raise KernelNotRead("a table of pages is not in RAM") from error
        entries = np.frombuffer(data, "<u8")
        # The upper half is the kernel's.
        yield entries[: _ENTRIES // 2] if upper else entries


def _frames(entries: Entries) -> Frames:
    """Page frames in entries; they are inverted where the page may not be touched."""
    hidden = entries & _PRESENT == 0
    address = np.where(hidden, ~entries, entries) & _FRAME_MASK
    return (address >> np.uint64(12)).astype(np.int64)
