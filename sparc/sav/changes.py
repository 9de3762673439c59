"""What is to be different in a saved state: pages, parts of pages, parts of units' contents."""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from sparc.errors import PageNotStored
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RAM, RUN_STRIDE, Space
from sparc.sav.record import decode_record, record_size
from sparc.sav.splice import Edit
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Changes"]

PAGE = c_pgm.PAGE
_LONGEST = c_ssm.MAX_RECORD + 8
_KINDS = {"ram": (c_pgm.RAM_RAW,), "mmio2": (c_pgm.MMIO2_RAW,)}


class Changes:
    """Collects them for one state, then tells which records of its file change, and how.

    What is asked for is asked of the content that a restore loads. Earlier copies of pages in a
    live save, which a restore overwrites, become zeros in any case, all of them: nobody needs
    them, and what stood there may have been anybody's.
    """

    def __init__(self, state: SavedState) -> None:
        self.state = state
        self._whole: dict[Space, npt.NDArray[np.bool_]] = {}
        self._parts: dict[Space, defaultdict[int, list[tuple[int, bytes]]]] = {}
        self._units: defaultdict[int, list[tuple[int, bytes]]] = defaultdict(list)

    # -- what is to change

    def blank(self, pages: Iterable[int] | npt.NDArray[np.integer], space: Space = RAM) -> None:
        """Make whole pages zeros, by number (GPA >> 12, or the index in a range).

        Numbers without a page in the file, as in the hole or in ROM, are passed over.
        """
        wanted = np.fromiter(pages, np.int64) if not isinstance(pages, np.ndarray) else pages
        marks = self._marks(space)
        marks[wanted[(wanted >= 0) & (wanted < len(marks))]] = True

    def write(self, address: int, data: bytes, space: Space = RAM) -> None:
        """Put `data` at a GPA, or at an offset in a range.

        Raises PageNotStored where the file has no bytes of the page, not even zeros; or only says
        that it is zero, and data is not.
        """
        parts = self._parts.setdefault(space, defaultdict(list))
        while data:
            page, inside = divmod(address, PAGE)
            place = self.state.place(page, space)
            piece = data[: PAGE - inside]
            if place is None or (not place.offset and any(piece)):
                raise PageNotStored(address)
            if place.offset:
                parts[page].append((inside, piece))
            data, address = data[len(piece) :], address + len(piece)

    def erase(self, address: int, size: int, space: Space = RAM) -> None:
        """Make `size` bytes zeros. Raises PageNotStored."""
        while size:
            part = min(size, PAGE - address % PAGE)
            self.write(address, bytes(part), space)
            address, size = address + part, size - part

    def write_unit(self, unit: Unit, offset: int, data: bytes) -> None:
        """Put `data` at an offset in the content of a unit other than pgm."""
        self._units[unit.offset].append((offset, data))

    # -- what that means

    def pages(self, space: Space = RAM) -> npt.NDArray[np.int64]:
        """The numbers of the stored pages that become zeros as a whole, ascending."""
        marks = self._marks(space)
        return np.flatnonzero(marks & (self.state.index.table(space) > 0))

    def touched(self, space: Space = RAM) -> npt.NDArray[np.int64]:
        """The numbers of all pages that change, wholly or in part, ascending."""
        parts = np.array(sorted(self._parts.get(space, ())), np.int64)
        return np.union1d(self.pages(space), parts)

    def content(self, page: int, space: Space = RAM) -> bytes:
        """The 4096 bytes of a page as they will be. Raises PageNotStored."""
        if self._marks(space)[page : page + 1].any():
            return bytes(PAGE)
        data = bytearray(self.state.space_page(space, page))
        for at, piece in self._pieces(space).get(page, ()):
            data[at : at + len(piece)] = piece
        return bytes(data)

    def edits(self) -> Iterator[Edit]:
        """The records that change, in the order of the file; some may be so already."""
        partial: list[Edit] = []
        offsets, counts = array("Q"), array("I")
        for space in self.state.spaces():
            if space.name in _KINDS:
                self._page_edits(space, partial, offsets, counts)
        for unit in self.state.units:
            if unit.offset in self._units:
                partial += self._unit_edits(unit, self._units[unit.offset])
        partial.sort(key=_offset)
        order = np.argsort(np.frombuffer(offsets, np.uint64), kind="stable") if offsets else ()
        zeros = (Edit(offsets[i], count=counts[i]) for i in order)
        return heapq.merge(partial, zeros, key=_offset)

    def real(self) -> Iterator[Edit]:
        """Those that are not so already: looking at each takes longer."""
        return filter(self._matters, self.edits())

    def _matters(self, edit: Edit) -> bool:
        """Whether the record is not what it is to become already."""
        if edit.count > 1:
            return True
        head = self.state.stored(edit.offset, 8 if not edit.pieces else _LONGEST)
        kind = head[0] & 0x0F
        if not edit.pieces:
            return kind != c_ssm.REC_ZERO
        size, count = record_size(head, 1)
        data = decode_record(kind, head[1 + count : 1 + count + size], edit.offset)
        return any(data[at : at + len(piece)] != piece for at, piece in edit.pieces)

    def _marks(self, space: Space) -> npt.NDArray[np.bool_]:
        marks = self._whole.get(space)
        if marks is None:
            marks = self._whole[space] = np.zeros(len(self.state.index.table(space)), np.bool_)
        return marks

    def _pieces(self, space: Space) -> dict[int, list[tuple[int, bytes]]]:
        return self._parts.get(space, defaultdict(list))

    def _page_edits(
        self, space: Space, partial: list[Edit], offsets: array[int], counts: array[int]
    ) -> None:
        """Append what changes in part, and where how many pages become zeros: there may be very
        many of these."""
        marks, table = self._marks(space), self.state.index.table(space)
        parts = self._pieces(space)
        in_part = np.zeros(len(marks), np.bool_)
        in_part[[*parts]] = True
        offset, page, count, kind, range_id = self.state.index.rows()
        rows = np.flatnonzero(
            (offset != 0) & np.isin(kind, _KINDS[space.name]) & (range_id == space.id)
        )
        alone = rows[count[rows] == 1]
        numbers = page[alone]
        zero = (table[numbers] != alone + 1) | marks[numbers]
        offsets.frombytes(offset[alone[zero]].tobytes())
        counts.frombytes(np.ones(np.count_nonzero(zero), np.uint32).tobytes())
        for row in alone[~zero & in_part[numbers]].tolist():
            partial.append(Edit(int(offset[row]), tuple(parts[int(page[row])])))
        for row in rows[count[rows] > 1].tolist():
            numbers = np.arange(int(page[row]), int(page[row]) + int(count[row]))
            zero = (table[numbers] != row + 1) | marks[numbers]
            start = int(offset[row])
            for first, length in _runs(zero):
                offsets.append(start + first * RUN_STRIDE)
                counts.append(length)
            for i in np.flatnonzero(~zero & in_part[numbers]).tolist():
                partial.append(Edit(start + i * RUN_STRIDE, tuple(parts[int(numbers[i])])))

    def _unit_edits(self, unit: Unit, parts: list[tuple[int, bytes]]) -> Iterator[Edit]:
        at = 0
        for offset, length in _records(self.state, unit):
            inside = tuple(
                (max(start - at, 0), data[max(at - start, 0) :][: at + length - max(start, at)])
                for start, data in parts
                if start < at + length and start + len(data) > at
            )
            if inside:
                yield Edit(offset, inside)
            at += length


def _offset(edit: Edit) -> int:
    return edit.offset


def _runs(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """(start, length) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield begin, end - begin


def _records(state: SavedState, unit: Unit) -> Iterator[tuple[int, int]]:
    """(file offset, bytes of content) of each record of a unit."""
    at = unit.data_offset
    while True:
        head = state.stored(at, 16)
        kind = head[0] & 0x0F
        if kind == c_ssm.REC_TERMINATOR:
            return
        size, count = record_size(head, 1)
        packed = kind in (c_ssm.REC_LZF, c_ssm.REC_ZERO)
        yield at, head[1 + count] * 1024 if packed else size
        at += 1 + count + size
