"""The page by which a guest and its host speak, as it stands in a saved state."""

from __future__ import annotations

import os
import zlib
from typing import Any

import numpy as np

from sparc import abi
from sparc.qemu.walk import StreamWalk, is_stream
from sparc.sav import c_pgm
from sparc.sav.index import RUN_STRIDE
from sparc.sav.memory import Memory
from sparc.sav.record import decode_record, record_size
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk

__all__ = ["find_mailbox", "identity_of", "is_held", "is_sealed"]

_PAGES = abi.MAILBOX_LIMIT // abi.PAGE_SIZE
_RAM = (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED)


def identity_of(page: int, data: bytes) -> Any:
    """The abi.Identity in the page of that number, or None where it is no mailbox."""
    if not data.startswith(abi.MAGIC):
        return None
    identity = abi.Identity.parse(data)
    crc = zlib.crc32(data[: abi.Identity.sizeof() - 4])
    return identity if (identity.gpa, identity.crc) == (page * abi.PAGE_SIZE, crc) else None


def is_held(mailbox: Any) -> bool:
    """Whether the guest of this abi.Mailbox was held still, for the save its manifest is of."""
    word = mailbox.status.word
    parked = abi.what_of(word) == abi.State.PARKED
    return parked and abi.sequence_of(word) == mailbox.manifest.sequence


def is_sealed(mailbox: Any) -> bool:
    """Whether the numbers of its manifest are whole."""
    head = mailbox.manifest
    used = np.array(mailbox.directory[: head.directories], "<u8").tobytes()
    return bool(zlib.crc32(used, zlib.crc32(abi.Manifest.build(head)[:-4])) == head.crc)


def find_mailbox(path: str | os.PathLike[str]) -> bytes | None:
    """The page that is a guest's mailbox, without reading all of the file; None: there is none.

    Of a plain save no more is read than its first 16 MB of RAM, and no checksum is verified. A live
    one holds pages several times, and is read to its end. Raises NotReadable and SavError.
    """
    with Stream(path) as stream:
        search = _StreamSearch(stream) if is_stream(stream) else _Search(stream)
        try:
            search.run()
        except _Enough:
            pass
        else:
            if not search.complete:
                raise search.problems[0]
        return next(iter(search.found.values()), None)


class _Enough(Exception):
    """What comes further on is of no interest."""


class _StreamSearch(StreamWalk):
    """The same, of QEMU's."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.found: dict[int, bytes] = {}

    def pages(self, memory: Memory, first_row: int) -> None:
        offsets, pages, counts, kinds, _ = memory.index.rows(first_row)
        ram = np.isin(kinds, _RAM)
        stride = memory.index.stride
        for row in np.flatnonzero(ram & (pages < _PAGES) & (offsets != 0)).tolist():
            first, offset = int(pages[row]), int(offsets[row]) + self.head
            for nth in range(min(int(counts[row]), _PAGES - first)):
                data = os.pread(self.stream.fd, abi.PAGE_SIZE, offset + nth * stride)
                if identity_of(first + nth, data) is not None:
                    self.found[first + nth] = data
        if self.found or (ram & (pages >= _PAGES)).any():
            raise _Enough


class _Search(Walk):
    """Keeps the last copy of each page that is a mailbox."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.found: dict[int, bytes] = {}

    def pages(self, memory: Memory, first_row: int) -> None:
        offsets, pages, counts, kinds, _ = memory.index.rows(first_row)
        ram = np.isin(kinds, _RAM)
        for row in np.flatnonzero(ram & (pages < _PAGES)).tolist():
            first, offset = int(pages[row]), int(offsets[row])
            for nth in range(min(int(counts[row]), _PAGES - first)):
                data = self._page(offset + nth * RUN_STRIDE) if offset else b""
                self.found.pop(first + nth, None)
                if identity_of(first + nth, data) is not None:
                    self.found[first + nth] = data
        assert self.header is not None
        if not self.header.live and (self.found or (ram & (pages >= _PAGES)).any()):
            raise _Enough

    def _page(self, offset: int) -> bytes:
        at, buf = offset - self.stream.base, self.stream.buf
        size, count = record_size(buf, at + 1)
        start = at + 1 + count
        return decode_record(buf[at] & 0x0F, bytes(self.stream.view[start : start + size]), offset)
