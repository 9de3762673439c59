"""From file offsets to guest addresses."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sparc.sav import c_pgm
from sparc.sav.index import Place, Space
from sparc.sav.state import SavedState

__all__ = ["Resolver", "Spot"]

PAGE = c_pgm.PAGE


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a saved state; fields as in report.Finding. `inside` and `record` are for pages:
    the offset in the page, and the file offset of the page's record."""

    place: str
    name: str
    address: int
    file_offset: int
    key: int = 0
    inside: int = 0
    record: int = 0


class Resolver:
    """Knows where the pages and units of one saved state stand in its file."""

    SPACES = ("ram", "mmio2", "rom", "shadow")

    def __init__(self, state: SavedState) -> None:
        self.state = state
        index = state.memory.index
        self._stride = index.stride
        offset, page, count, kind, range_id = index.rows()
        stored = offset != 0
        # Rows are in the order of the file, so these are ascending.
        self._offset = offset[stored].astype(np.int64)
        self._page, self._count = page[stored], count[stored]
        self._kind, self._range = kind[stored], range_id[stored]
        self._units = [u.offset for u in state.units]

    @classmethod
    def spot(cls, key: int, inside: int, record: int) -> Spot:
        """The spot of a page by its key: space number << 32 | page number."""
        space, page = key >> 32, key & 0xFFFFFFFF
        place = cls.SPACES[space >> 8]
        name = f"{place}#{space & 0xFF}" if space else ""
        return Spot(place, name, page * PAGE + inside, record, key, inside, record)

    @staticmethod
    def space(key: int) -> Space:
        """The page index's space of a key."""
        number = key >> 32
        return Space(Resolver.SPACES[number >> 8], number & 0xFF)

    def resolve(self, offsets: list[int], lengths: list[int]) -> list[Spot | None]:
        """What stands at each file offset; None if it is searched in decoded form anyway."""
        if not offsets:
            return []
        rows = np.searchsorted(self._offset, np.array(offsets, np.int64), "right") - 1
        return [
            self._one(at, size, row)
            for at, size, row in zip(offsets, lengths, rows.tolist(), strict=True)
        ]

    def _one(self, at: int, size: int, row: int) -> Spot | None:
        unit = self._unit_at(at)
        if row >= 0:
            start, count = int(self._offset[row]), int(self._count[row])
            step = (at - start) // self._stride if count > 1 else 0
            start += step * self._stride
            # A page's record is at most 4105 bytes; most offsets between pages end here.
            if step < count and at - start < PAGE + 16:
                before, length, plain = self.state.record(start)
                inside = at - start - before
                if inside >= 0 and inside + size <= length:
                    if not plain:
                        return None  # decompressed pages are searched
                    return self.spot(self._key(row) + step, inside, start)
                if 0 <= inside < length and self._stride == PAGE and step + 1 < count:
                    return None  # it goes on in the next page: the ends of pages are compared
        if unit is not None:
            name, data, end = unit
            if name != "pgm" and data <= at and at + size <= end:
                return None
            return Spot("file", name, at, at)
        return Spot("file", "", at, at)

    def _key(self, row: int) -> int:
        kind = int(self._kind[row])
        group = {c_pgm.MMIO2_RAW: 1, c_pgm.ROM_VIRGIN: 2, c_pgm.ROM_SHADOW_RAW: 3}.get(kind, 0)
        space = group << 8 | int(self._range[row]) if group else 0
        return space << 32 | int(self._page[row])

    def _unit_at(self, at: int) -> tuple[str, int, int] | None:
        """The unit around a file offset: its name, where its data starts and ends."""
        number = bisect_right(self._units, at) - 1
        if number < 0:
            return None
        unit = self.state.units[number]
        end = unit.data_offset + unit.stored
        # A unit that was not read to its end was not searched to its end.
        return (unit.name, unit.data_offset, end) if at < end else None

    def superseded(self, spot: Spot) -> bool:
        """Whether a page copy was replaced by a later one in the same file."""
        if spot.place not in self.SPACES:
            return False
        place = self.state.place(spot.key & 0xFFFFFFFF, self.space(spot.key))
        return place is not None and place.offset != spot.record

    def page(self, record: int) -> bytes:
        """The content of the page whose record stands at a file offset."""
        return self.state.content(Place(c_pgm.RAM_RAW, record))

    def from_spot(self, spot: Spot) -> Iterator[bytes]:
        """The content from a spot in a page to the page's end, then of the pages that follow it."""
        yield self.page(spot.record)[spot.inside :]
        key = spot.key
        while True:
            key += 1
            place = self.state.place(key & 0xFFFFFFFF, self.space(key))
            if place is None:
                return
            yield self.state.content(place)
