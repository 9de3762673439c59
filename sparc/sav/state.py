"""A saved state as a library user sees it: units by name, memory by address."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

import numpy as np

from sparc.errors import Damaged, NotReadable, PageNotStored, SavError, UnitNotFound
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RAM, RUN_STRIDE, Place, Space
from sparc.sav.memory import Memory
from sparc.sav.record import decode_record, record_size
from sparc.sav.ssm import Header, Unit
from sparc.sav.walk import Walk

__all__ = ["SavedState"]

_RECORD = c_pgm.PAGE + 8
_RUN_PAGES = 512


class SavedState:
    """A saved-state file, open for random access.

    Opening it reads it once from end to end, verifies every checksum and indexes its pages; no
    content is kept. Raises NotReadable, NotASavedState, Unsupported, Damaged or LimitExceeded.
    With `verify=False` wrong checksums are listed in `problems` instead of raised. `fd` and `size`
    are the file's descriptor and bytes, `index` tells where each page stands in it.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        with Walk(path) as walk:
            walk.run()
            for problem in walk.problems:
                if verify or not (isinstance(problem, Damaged) and problem.checksum):
                    raise problem
            self._adopt(walk)

    @classmethod
    def of(cls, walk: Walk) -> Self:
        """What a walk that may not have reached the end could read; the walk can be closed."""
        state = cls.__new__(cls)
        state._adopt(walk)
        return state

    def _adopt(self, walk: Walk) -> None:
        if walk.header is None:
            raise Damaged("file header", 0)
        self.path = walk.stream.path
        self.header: Header = walk.header
        self.memory: Memory = walk.memory or Memory(0, 0, {}, {})
        self.units: list[Unit] = walk.units
        self.problems: list[SavError] = walk.problems
        self.index = self.memory.index
        self.size = walk.stream.size
        self.fd = os.dup(walk.stream.fd)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- units

    def unit(self, name: str, instance: int | None = None) -> Unit:
        """The last unit of that name: the final pass's, if it has one. Raises UnitNotFound."""
        found = [u for u in self.units if u.name == name and instance in (None, u.instance)]
        if not found:
            raise UnitNotFound(name, instance)
        return found[-1]

    def unit_content(self, unit: Unit) -> Iterator[bytes]:
        """The decoded payload of a unit, in pieces of at most a record each."""
        at = unit.data_offset
        while True:
            head = self.stored(at, 8)
            kind = head[0] & 0x0F
            if kind == c_ssm.REC_TERMINATOR:
                return
            size, count = record_size(head, 1)
            start = at + 1 + count
            yield decode_record(kind, self.stored(start, size), at)
            at = start + size

    def unit_bytes(self, name: str, instance: int | None = None) -> bytes:
        """The whole content of a unit (not for `pgm`, which is as large as the guest)."""
        return b"".join(self.unit_content(self.unit(name, instance)))

    # -- memory

    @property
    def ram_size(self) -> int:
        """RAM in bytes, without the hole."""
        return self.memory.size

    def page(self, address: int) -> bytes:
        """The 4096 bytes of the RAM page at this GPA. Raises PageNotStored, as in ROM."""
        place = self.index.place(address // c_pgm.PAGE)
        if place is None:
            raise PageNotStored(address)
        return self.content(place)

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of RAM from this GPA on. Raises PageNotStored."""
        first, last = address // c_pgm.PAGE, (address + size - 1) // c_pgm.PAGE
        data = b"".join(self.page(page * c_pgm.PAGE) for page in range(first, last + 1))
        return data[address % c_pgm.PAGE :][:size]

    def spaces(self) -> list[Space]:
        """RAM and every MMIO2, ROM and shadow-ROM range with pages in the file."""
        return self.index.spaces()

    def space_page(self, space: Space, page: int) -> bytes:
        """The 4096 bytes of page number `page` of a range. Raises PageNotStored."""
        place = self.index.place(page, space)
        if place is None:
            raise PageNotStored(page * c_pgm.PAGE)
        return self.content(place)

    def record(self, start: int) -> tuple[int, int, bool]:
        """Of a page's record at a file offset: bytes before its data, bytes of that, and whether
        it is the page as it is."""
        head = self.stored(start, 8)
        size, digits = record_size(head, 1)
        return 1 + digits, size, head[0] & 0x0F == c_ssm.REC_RAW

    def content(self, place: Place) -> bytes:
        """The 4096 bytes of a page, wherever the index found it."""
        if not place.offset:
            return bytes(c_pgm.PAGE)
        data = self.stored(place.offset, _RECORD)
        size, count = record_size(data, 1)
        start = 1 + count
        return decode_record(data[0] & 0x0F, data[start : start + size], place.offset)

    def ram_pages(self) -> list[int]:
        """The numbers (GPA >> 12) of all RAM pages in the file, zero pages included, ascending."""
        pages: list[int] = self.index.pages().tolist()
        return pages

    def place(self, page: int, space: Space = RAM) -> Place | None:
        """Where the final content of a page stands, None if nowhere."""
        return self.index.place(page, space)

    def ram_runs(self) -> Iterator[tuple[int, bytes]]:
        """All RAM that is not zero, ascending, as (GPA, content of neighbouring pages)."""
        table = self.index.table(RAM)
        index = self.index
        pages = np.flatnonzero(table)
        # Neighbouring pages of one row with data of their own form a run.
        rows = table[pages]
        breaks = np.flatnonzero((np.diff(pages) != 1) | (np.diff(rows.astype(np.int64)) != 0)) + 1
        for begin, end in zip([0, *breaks.tolist()], [*breaks.tolist(), len(pages)], strict=True):
            if begin == end or not index.offset[int(rows[begin]) - 1]:
                continue
            for first in range(begin, end, _RUN_PAGES):
                page, count = int(pages[first]), min(end - first, _RUN_PAGES)
                yield page * c_pgm.PAGE, self._run(page, count)

    def _run(self, page: int, count: int) -> bytes:
        place = self.index.place(page)
        assert place is not None
        if count == 1:
            return self.content(place)
        size = (count - 1) * RUN_STRIDE + 4 + c_pgm.PAGE
        data = self.stored(place.offset, size)
        whole = np.ndarray((count, c_pgm.PAGE), np.uint8, data, 4, (RUN_STRIDE, 1))
        return whole.tobytes()

    def stored(self, offset: int, size: int) -> bytes:
        """`size` bytes of the file as they are, fewer at its end. Raises NotReadable."""
        try:
            data = os.pread(self.fd, size, offset)
        except OSError as error:
            raise NotReadable(self.path, error.strerror or str(error)) from error
        return data
