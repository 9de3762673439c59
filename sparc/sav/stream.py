"""A window that slides once over a file, with the CRC-32 of all that it has passed."""

from __future__ import annotations

import os
import stat
from typing import Self

from isal import isal_zlib

from sparc.errors import Damaged, NotReadable

__all__ = ["Stream", "open_regular"]


def open_regular(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Open a regular file for reading; returns (descriptor, size in bytes).

    Raises NotReadable for anything else: a FIFO would hang, a device may have no end.
    """
    name = os.fspath(path)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its writer before it can be refused.
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise NotReadable(name, getattr(error, "strerror", None) or str(error)) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise NotReadable(name, kind)
    return fd, status.st_size


class Stream:
    """Sequential access in place: `buf[pos:end]` is what lies ahead, `base` the offset of buf[0].

    Callers may advance `pos` themselves up to `end`; everything before `pos` counts as passed and
    is in `crc()`. Memory: WINDOW + MARGIN bytes, whatever the file says.
    """

    WINDOW = 4 << 20
    # No single item may be longer: it holds the longest record, a page, and their headers.
    MARGIN = (1 << 16) + (1 << 13)

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.fd, self.size = open_regular(path)
        self.buf = bytearray(min(self.WINDOW, self.size) + min(self.MARGIN, self.size) + 1)
        self.view = memoryview(self.buf)
        self.base = 0
        self.pos = 0
        self.end = 0
        self._crc = 0
        self._crc_pos = 0

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tell(self) -> int:
        """The file offset of `pos`."""
        return self.base + self.pos

    def fill(self, need: int) -> int:
        """Slide so that `need` bytes (at most MARGIN) lie ahead; returns how many really do."""
        if self.end - self.pos >= need or self.base + self.end >= self.size:
            return self.end - self.pos
        self._advance_crc()
        left = self.end - self.pos
        self.view[:left] = self.view[self.pos : self.end]
        self.base += self.pos
        self.pos = self._crc_pos = 0
        self.end = left
        while self.end < len(self.buf) and self.base + self.end < self.size:
            try:
                count = os.preadv(self.fd, [self.view[self.end :]], self.base + self.end)
            except OSError as error:
                raise NotReadable(self.path, error.strerror or str(error)) from error
            if count == 0:  # it became shorter while we read
                self.size = self.base + self.end
            self.end += count
            if self.end >= need:
                break
        return self.end

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes (at most MARGIN), passed over. Raises Damaged at the end."""
        if self.fill(count) < count:
            raise Damaged(
                f"{what}: the file ends inside it", self.tell(), count, self.end - self.pos
            )
        self.pos += count
        return bytes(self.view[self.pos - count : self.pos])

    def crc(self) -> int:
        """CRC-32 of everything before `pos`."""
        self._advance_crc()
        return self._crc

    def _advance_crc(self) -> None:
        if self._crc_pos < self.pos:
            self._crc = isal_zlib.crc32(self.view[self._crc_pos : self.pos], self._crc)
            self._crc_pos = self.pos
