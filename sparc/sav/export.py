"""Writes a saved state's guest memory for other tools: a raw image, or an ELF core."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sparc.errors import NotReadable
from sparc.sav.state import SavedState

__all__ = ["export_elf", "export_raw", "replacing", "vmcoreinfo"]

Progress = Callable[[int, int], None]
PAGE = 4096
_ET_CORE, _EM_X86_64 = 4, 62
_PT_LOAD, _PT_NOTE = 1, 4
_PF_RWX = 7


@contextmanager
def replacing(out: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor for a new file, only its owner's, put in place of `out` if all goes well."""
    path = Path(out)
    if path.is_dir():
        raise NotReadable(str(path), "a directory; name a file to write")
    temporary = ""
    try:
        fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            yield fd
        finally:
            os.close(fd)
        Path(temporary).replace(path)
        temporary = ""
    except OSError as error:
        raise NotReadable(str(path), error.strerror or str(error)) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _write(fd: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(fd, left, offset)
        left, offset = left[count:], offset + count


def export_raw(
    state: SavedState, out: str | os.PathLike[str], progress: Progress | None = None
) -> None:
    """Write RAM as a sparse file in which the offset is the GPA; holes and ROM read as zeros.

    Raises NotReadable when `out` cannot be written.
    """
    start, size = state.memory.ram_ranges()[-1]
    with replacing(out) as fd:
        os.truncate(fd, start + size)
        for address, data in state.ram_runs():
            _write(fd, data, address)
            if progress is not None:
                progress(address, start + size)


def vmcoreinfo(state: SavedState) -> bytes | None:
    """What a Linux guest's kernel says of itself (its VMCOREINFO text), or None.

    The kernel keeps it in a page of its own, so that a crash dump can be read with it.
    """
    mark = b"OSRELEASE="
    for address, data in state.ram_runs():
        at = data.find(mark)
        while at >= 0:
            text = data[at : at + PAGE].split(b"\0")[0]
            if at % PAGE == 0 and b"\nPAGESIZE=" in text and b"SYMBOL(" in text:
                return text
            at = data.find(mark, at + 1)
        del address
    return None


def _note(name: bytes, kind: int, data: bytes) -> bytes:
    head = struct.pack("<III", len(name) + 1, len(data), kind)
    name += b"\0"
    return head + name + bytes(-len(name) % 4) + data + bytes(-len(data) % 4)


def export_elf(
    state: SavedState, out: str | os.PathLike[str], progress: Progress | None = None
) -> None:
    """Write RAM as a sparse 64-bit ELF core: a PT_LOAD for each range, p_paddr = p_vaddr = GPA.

    With a Linux guest's VMCOREINFO as a note, as kdump and QEMU's dump-guest-memory have it.
    Raises NotReadable when `out` cannot be written.
    """
    ranges = state.memory.ram_ranges()
    info = vmcoreinfo(state)
    notes = b"" if info is None else _note(b"VMCOREINFO", 0, info)
    first = 64 + 56 * (len(ranges) + 1)
    offset = -(-(first + len(notes)) // PAGE) * PAGE
    headers = struct.pack("<IIQQQQQQ", _PT_NOTE, 0, first, 0, 0, len(notes), len(notes), 4)
    starts = {}
    for address, size in ranges:
        headers += struct.pack(
            "<IIQQQQQQ", _PT_LOAD, _PF_RWX, offset, address, address, size, size, PAGE
        )
        starts[address] = offset
        offset += size
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        _ET_CORE,
        _EM_X86_64,
        1,
        0,
        64,
        0,
        0,
        64,
        56,
        len(ranges) + 1,
        0,
        0,
        0,
    )
    with replacing(out) as fd:
        os.truncate(fd, offset)
        _write(fd, elf + headers + notes, 0)
        for address, data in state.ram_runs():
            base = max(start for start in starts if start <= address)
            _write(fd, data, starts[base] + address - base)
            if progress is not None:
                progress(address, offset)
