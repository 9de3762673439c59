"""ELF cores of a guest's physical memory: VirtualBox's, QEMU's and our own.

`VBoxManage debugvm VM dumpvmcore` writes one whose PT_LOAD segments have p_paddr = GPA. It is an
independent witness of what RAM held when a state was saved in the same pause.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sparc.errors import NotReadable
from sparc.sav.state import SavedState
from sparc.sav.stream import open_regular

__all__ = ["Segment", "differing_pages", "page_digests", "segments"]

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_PT_LOAD = 1
PAGE = 4096
# The legacy video and ROM window: VirtualBox keeps no RAM pages there.
WINDOW = range(0xA0000, 0x100000)


@dataclass(frozen=True, slots=True)
class Segment:
    """Guest memory from `address` (GPA) on: `size` bytes at file offset `offset`."""

    address: int
    size: int
    offset: int


def segments(path: str | os.PathLike[str]) -> list[Segment]:
    """The PT_LOAD segments of a 64-bit ELF core. Raises NotReadable."""
    fd, size = open_regular(path)
    try:
        head = os.pread(fd, _EHDR.size, 0)
        if len(head) < _EHDR.size or head[:6] != b"\x7fELF\x02\x01":
            raise NotReadable(os.fspath(path), "not a 64-bit little-endian ELF file")
        table, entry, count = (_EHDR.unpack(head)[i] for i in (5, 9, 10))
        data = os.pread(fd, entry * count, table)
        if entry != _PHDR.size or len(data) != entry * count:
            raise NotReadable(os.fspath(path), "its program headers are cut")
        found = []
        for kind, _, offset, _, address, stored, _, _ in _PHDR.iter_unpack(data):
            if kind == _PT_LOAD and stored:
                if offset + stored > size:
                    raise NotReadable(os.fspath(path), "a segment is cut")
                found.append(Segment(address, stored, offset))
        return found
    finally:
        os.close(fd)


def _pages(state: SavedState, path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """(GPA, 4096 bytes) for every page of a core that is RAM in the saved state's configuration."""
    fd, _ = open_regular(path)
    try:
        for segment in segments(path):
            for at in range(0, segment.size, PAGE):
                address = segment.address + at
                if state.memory.is_ram(address) and address not in WINDOW:
                    yield address, os.pread(fd, PAGE, segment.offset + at)
    finally:
        os.close(fd)


def differing_pages(state: SavedState, path: str | os.PathLike[str]) -> tuple[int, list[int]]:
    """Hold a saved state's RAM against a core of the same pause.

    Returns (pages compared, GPAs of those that differ or that only one of the two has).
    """
    compared, differing = 0, []
    seen = set()
    for address, data in _pages(state, path):
        compared += 1
        seen.add(address // PAGE)
        place = state.place(address // PAGE)
        if place is None or state.content(place) != data:
            differing.append(address)
    for page in state.ram_pages():
        if page not in seen and page * PAGE not in WINDOW:
            differing.append(page * PAGE)
    return compared, sorted(differing)


def page_digests(state: SavedState, path: str | os.PathLike[str]) -> dict[str, str]:
    """What a core says of each RAM page that is not zero: {GPA in hex: SHA-256 in hex}.

    A few hundred bytes for a small VM, so that a test can do without the core.
    """
    zero = bytes(PAGE)
    return {
        f"{address:#x}": hashlib.sha256(data).hexdigest()
        for address, data in _pages(state, path)
        if data != zero
    }
