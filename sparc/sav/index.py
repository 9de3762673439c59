"""Which page of guest memory stands where in the file."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparc.errors import LimitExceeded
from sparc.sav import c_pgm

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["RUN_STRIDE", "PageIndex", "Place", "Space"]

# From one page to the next in a run: a 3-byte record with the page's type, the 4-byte header of
# the page's own record, and the page.
RUN_STRIDE = 3 + 4 + c_pgm.PAGE

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Space:
    """An address space of pages: ("ram", 0), or a range: ("mmio2" | "rom" | "shadow", id)."""

    name: str
    id: int = 0


RAM = Space("ram")

_SPACES = ("ram", "ram", "mmio2", "mmio2", "rom", "shadow", "shadow", "", "ram")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page's final content is: its `kind` (c_pgm), and the file offset of its record.

    `offset` is 0 for kinds without one (zero and ballooned pages).
    """

    kind: int
    offset: int


class PageIndex:
    """Rows in the order of the file, each a run of neighbouring pages of one kind.

    A row is (file offset of the first page's record, first page number, count, kind | range << 8);
    in RAM a page number is GPA >> 12, in a range the page's index. The pages of a row with a count
    above 1 and a record each stand `stride` bytes apart. 18 bytes a row, at most MAX_ROWS rows.
    """

    MAX_ROWS = 1 << 24

    def __init__(self, stride: int = RUN_STRIDE) -> None:
        self.stride = stride
        self.offset = array("Q")
        self.page = array("I")
        self.count = array("I")
        self.tag = array("H")
        self._tables: dict[Space, npt.NDArray[np.uint32]] = {}

    def __len__(self) -> int:
        return len(self.tag)

    def add(self, offset: int, page: int, count: int, tag: int) -> None:
        """Append a row. Raises LimitExceeded at MAX_ROWS."""
        if len(self.tag) >= self.MAX_ROWS:
            raise LimitExceeded("number of page runs", self.MAX_ROWS, len(self.tag) + 1, offset)
        self.offset.append(offset)
        self.page.append(page)
        self.count.append(count)
        self.tag.append(tag)

    def add_single(self, offsets: list[int], page: int, tag: int) -> None:
        """Append a row for each of these records, for pages from `page` on."""
        count = len(offsets)
        if len(self.tag) + count > self.MAX_ROWS:
            raise LimitExceeded(
                "number of page runs", self.MAX_ROWS, len(self.tag) + count, offsets[0]
            )
        self.offset.extend(offsets)
        self.page.extend(range(page, page + count))
        self.count.extend([1] * count)
        self.tag.extend([tag] * count)

    def rows(self, start: int = 0) -> tuple[npt.NDArray[Any], ...]:
        """Copies of the columns from row `start` on: offset, page, count, kind, range id."""
        tag = np.array(self.tag[start:], np.uint16)
        return (
            np.array(self.offset[start:], np.uint64),
            np.array(self.page[start:], np.uint32),
            np.array(self.count[start:], np.uint32),
            (tag & 0xFF).astype(np.uint8),
            (tag >> 8).astype(np.uint8),
        )

    def counts(self) -> dict[str, int]:
        """Page records by kind, every pass counted."""
        _, _, count, kind, _ = self.rows()
        sums = np.bincount(kind, weights=count, minlength=len(c_pgm.KIND_NAMES))
        return {name: int(sums[i]) for i, name in enumerate(c_pgm.KIND_NAMES)}

    def spaces(self) -> list[Space]:
        """Every space that has a page, RAM first."""
        tags = sorted(set(self.tag))
        found = {Space(_SPACES[t & 0xFF], t >> 8) for t in tags if _SPACES[t & 0xFF]}
        return sorted(found, key=lambda s: (s.name != "ram", s.name, s.id))

    def table(self, space: Space) -> npt.NDArray[np.uint32]:
        """Page number -> row + 1 of its last record; 0 where there is none. To be read only."""
        table = self._tables.get(space)
        if table is not None:
            return table
        _, page, count, kind, range_id = self.rows()
        kinds = [i for i, name in enumerate(_SPACES) if name == space.name]
        chosen = np.flatnonzero(np.isin(kind, kinds) & (range_id == space.id))
        top = int((page[chosen].astype(np.int64) + count[chosen]).max()) if len(chosen) else 0
        # calloc'd: a page of the table that nothing is written to costs no memory.
        table = np.zeros(top, np.uint32)
        for begin in range(0, len(chosen), _CHUNK):
            rows = chosen[begin : begin + _CHUNK]
            single = count[rows] == 1
            last = 0
            # Runs and single pages are written in the order of the file: later records win.
            for i in [*np.flatnonzero(~single).tolist(), len(rows)]:
                some = rows[last:i]
                table[page[some]] = some + 1
                if i < len(rows):
                    row = int(rows[i])
                    table[int(page[row]) : int(page[row]) + int(count[row])] = row + 1
                last = i + 1
        self._tables[space] = table
        return table

    def place(self, page: int, space: Space = RAM) -> Place | None:
        """The final content of a page, or None if the file has no record of it."""
        table = self.table(space)
        if not 0 <= page < len(table) or not table[page]:
            return None
        row = int(table[page]) - 1
        kind, offset = self.tag[row] & 0xFF, self.offset[row]
        return Place(kind, offset + (page - self.page[row]) * self.stride if offset else 0)

    def pages(self, space: Space = RAM) -> npt.NDArray[np.int64]:
        """The numbers of all pages the file has a record of, ascending."""
        return np.flatnonzero(self.table(space))

    def drop_tables(self) -> None:
        """Free what lookups have built; the next one builds it again."""
        self._tables.clear()
