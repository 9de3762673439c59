"""What is put aside for a checkpoint, in memory that two processes share and no other sees.

A file without a name holds first a table of pieces (GPA, bytes), then their content. Both the
process that takes the checkpoint and the one that watches over it have it, so that either can put
everything back when the other is gone.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Self

from host_service.qemu.memory import GuestMemory

__all__ = ["Stash", "cut"]

_HEAD = struct.Struct("<QQ")
_PIECE = struct.Struct("<QQ")
_libc = ctypes.CDLL(None, use_errno=True)


class Stash:
    """The memory behind that descriptor; `locked`: whether none of it can be swapped out."""

    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0, mmap.MAP_SHARED)
        self._map.madvise(mmap.MADV_DONTDUMP)
        self._map.madvise(mmap.MADV_DONTFORK)
        self._view = memoryview(self._map)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        self.locked = _libc.mlock(ctypes.c_void_p(start), ctypes.c_size_t(len(self._map))) == 0

    @classmethod
    def make(cls, fd: int, pieces: list[tuple[int, int]]) -> Self:
        """Make room for these pieces; nothing is in it yet. Raises OSError."""
        table = len(pieces) * _PIECE.size
        size = _HEAD.size + table + sum(length for _, length in pieces)
        # All of it now: later there might be none left.
        os.posix_fallocate(fd, 0, size)
        stash = cls(fd)
        _HEAD.pack_into(stash._view, 0, len(pieces), size)
        for number, piece in enumerate(pieces):
            _PIECE.pack_into(stash._view, _HEAD.size + number * _PIECE.size, *piece)
        return stash

    @staticmethod
    def file() -> int:
        """A descriptor of an empty one."""
        return os.memfd_create("sparc-stash", os.MFD_CLOEXEC)

    @property
    def bytes(self) -> int:
        """What is, or will be, put aside."""
        count, size = _HEAD.unpack_from(self._view)
        return int(size - _HEAD.size - count * _PIECE.size)

    def _pieces(self) -> Iterator[tuple[int, memoryview]]:
        """Each piece's GPA, and its place in here."""
        count, _ = _HEAD.unpack_from(self._view)
        at = _HEAD.size + count * _PIECE.size
        table = self._view[_HEAD.size : at]
        for gpa, length in _PIECE.iter_unpack(table):
            yield gpa, self._view[at : at + length]
            at += length

    def take(self, memory: GuestMemory) -> None:
        """Copy all pieces in."""
        for gpa, place in self._pieces():
            place[:] = memory.view(gpa, len(place))

    def put_back(self, memory: GuestMemory) -> None:
        """Copy all pieces out again; as often as one likes."""
        for gpa, place in self._pieces():
            memory.write(gpa, place)

    def wipe(self) -> None:
        """Overwrite all of it."""
        for at in range(0, len(self._view), len(_ZEROS)):
            piece = self._view[at : at + len(_ZEROS)]
            piece[:] = _ZEROS[: len(piece)]


_ZEROS = memoryview(bytes(1 << 20))


def cut(pieces: Iterable[tuple[int, int]], memory: GuestMemory) -> list[tuple[int, int]]:
    """The same ranges, none of them from one part of RAM into another."""
    return list(memory.runs(iter(pieces)))
