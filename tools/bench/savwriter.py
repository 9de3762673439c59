"""Writes saved states as VirtualBox does, for tests and measurements that need no VM.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/SSM.cpp and PGMSavedState.cpp.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import BinaryIO

import lzf
from isal import isal_zlib

__all__ = ["PAGE", "SavWriter"]

PAGE = 4096
_MAGIC = b"\x7fVirtualBox SavedState V2.0\n".ljust(32, b"\0")
_BEGIN, _END = 0x19200102, 0x19920406
FINAL = 0xFFFFFFFF


def record(kind: int, data: bytes) -> bytes:
    """A record of a type, with its length in the shortest form (up to 65535 bytes)."""
    size = len(data)
    if size < 0x80:
        digits = bytes([size])
    elif size < 0x800:
        digits = bytes([0xC0 | size >> 6, 0x80 | size & 0x3F])
    else:
        digits = bytes([0xE0 | size >> 12, 0x80 | size >> 6 & 0x3F, 0x80 | size & 0x3F])
    return bytes([0x90 | kind]) + digits + data


class SavWriter:
    """Writes to `out` (its `offset` and `crc` are kept) header, units, directory and footer.

    `begin`, `put`... and `end` make a unit; `pages` writes RAM as the page stream does.
    """

    def __init__(
        self,
        out: BinaryIO | None = None,
        *,
        live: bool = False,
        stream_crc: bool = True,
        version: tuple[int, int, int, int] = (7, 2, 22, 175245),
    ) -> None:
        self.out: BinaryIO = out if out is not None else io.BytesIO()
        self.stream_crc = stream_crc
        self.offset = self.crc = 0
        self.listed: dict[tuple[str, int], int] = {}
        self._buffer = bytearray()
        self._unit_size = 0
        self._last = -2
        flags = stream_crc | live << 1
        head = _MAGIC + struct.pack("<HHIIBBBBIII", *version, 64, 8, 8, 0, 38, flags, PAGE)
        self._write(head + struct.pack("<I", isal_zlib.crc32(head + bytes(4))))

    def _write(self, data: bytes) -> None:
        self.out.write(data)
        self.offset += len(data)
        self.crc = isal_zlib.crc32(data, self.crc)

    # -- units

    def begin(self, name: str, instance: int = 0, version: int = 1, pass_: int = FINAL) -> None:
        """Start a unit."""
        self.listed[name, instance] = self.offset
        self._unit_header(b"\nUnit\n\0\0", version, instance, pass_, name.encode() + b"\0")
        self._unit_size = 0
        self._last = -2

    def _unit_header(
        self, magic: bytes, version: int, instance: int, pass_: int, name: bytes
    ) -> None:
        crc = self.crc if self.stream_crc else 0
        parts = [
            magic + struct.pack("<QI", self.offset, crc),
            struct.pack("<IIIII", version, instance, pass_, 0, len(name)) + name,
        ]
        check = isal_zlib.crc32(parts[0] + bytes(4) + parts[1])
        self._write(parts[0] + struct.pack("<I", check) + parts[1])

    def record(self, kind: int, data: bytes) -> None:
        """Write one record as it is."""
        whole = record(kind, data)
        self._unit_size += len(whole)
        self._write(whole)

    def put(self, data: bytes) -> None:
        """Write content, buffered up to 4 KiB and compressed in blocks of 4 KiB like VirtualBox."""
        if len(data) <= PAGE // 8:
            if len(self._buffer) + len(data) > PAGE:
                self.flush()
            self._buffer += data
            return
        self.flush()
        while len(data) >= PAGE:
            self._block(data[:PAGE])
            data = data[PAGE:]
        if data:
            self.record(2, data)

    def _block(self, data: bytes) -> None:
        if not any(data):
            self.record(4, bytes([PAGE // 1024]))
            return
        packed = lzf.compress(data, PAGE - PAGE // 16)
        if packed is None:
            self.record(2, data)
        else:
            size = len(packed) + 1
            digits = bytes([0xE0 | size >> 12, 0x80 | size >> 6 & 0x3F, 0x80 | size & 0x3F])
            whole = b"\x93" + digits + bytes([PAGE // 1024]) + packed
            self._unit_size += len(whole)
            self._write(whole)

    def flush(self) -> None:
        """Write what is buffered as a record."""
        if self._buffer:
            self.record(2, bytes(self._buffer))
            self._buffer.clear()

    def end(self) -> None:
        """End the unit."""
        self.flush()
        self._write(b"\x91\x0e")
        flags, crc = (1, self.crc) if self.stream_crc else (0, 0)
        self._write(struct.pack("<HIQ", flags, crc, self._unit_size + 16))

    def unit(self, name: str, content: bytes, instance: int = 0, version: int = 1) -> None:
        """Write a whole unit."""
        self.begin(name, instance, version)
        self.put(content)
        self.end()

    # -- pgm

    def pgm_fixed(self, cpus: int = 1, ballooned: int = 0) -> None:
        """The part of the final `pgm` unit before configuration and pages."""
        self.put(struct.pack("<IBQIII", _BEGIN, 0, 0, 0, ballooned, _END))
        for _ in range(cpus):
            self.put(struct.pack("<IBQIQQQQI", _BEGIN, 1, FINAL, 9, 0, 0, 0, 0, _END))

    def pgm_config(
        self,
        ram: int,
        hole: int = 512 << 20,
        roms: Iterable[tuple[str, int, int]] = (),
        mmio2: Iterable[tuple[str, int]] = (),
    ) -> None:
        """RAM and hole in bytes, ROMs (text, GPA, size) and MMIO2 ranges (text, size)."""
        self.put(struct.pack("<IQ", hole, ram))
        for number, (text, address, size) in enumerate(roms, 1):
            self.put(self._owner(number, "", text) + struct.pack("<QQ", address, size))
        self.put(b"\xff")
        for number, (text, size) in enumerate(mmio2, 1):
            self.put(self._owner(number, "vga", text) + struct.pack("<Q", size))
        self.put(b"\xff")

    @staticmethod
    def _owner(number: int, device: str, text: str) -> bytes:
        names = [struct.pack("<I", len(t)) + t.encode() for t in (device, text)]
        return bytes([number]) + names[0] + struct.pack("<IB", 0, 0) + names[1]

    def ram(self, page: int, data: bytes | None) -> None:
        """One RAM page (its number is GPA >> 12); None or zeros are stored as a zero page."""
        kind = 1 if data and any(data) else 0
        self._head(kind, page, struct.pack("<Q", page << 12))
        if kind and data:
            self.put(data)

    def ballooned(self, page: int) -> None:
        """One ballooned page."""
        self._head(8, page, struct.pack("<Q", page << 12))

    def _head(self, kind: int, page: int, address: bytes) -> None:
        if page == self._last + 1:
            self.put(bytes([kind]))
        else:
            self.put(bytes([kind | 0x80]))
            self.put(address)
        self._last = page

    def ranged(
        self, kind: int, number: int, page: int, data: bytes | None, prot: int | None = None
    ) -> None:
        """One page of a range: `kind` 2 to 7 as in the format, `prot` for those of ROMs."""
        self.put(
            bytes([kind | 0x80, number]) if page == 0 or self._last != page - 1 else bytes([kind])
        )
        if page == 0 or self._last != page - 1:
            self.put(struct.pack("<I", page))
        if prot is not None:
            self.put(bytes([prot]))
        if data is not None:
            self.put(data)
        self._last = page

    def pgm_end(self) -> None:
        """The mark after the last page, and the unit's end."""
        self.put(b"\xff")
        self.end()

    # -- the file's end

    def finish(self) -> bytes:
        """Write the end of the units, directory and footer; the whole file if it is in memory."""
        self._unit_header(b"\nTheEnd\0", 0, 0, FINAL, b"")
        entries = b"".join(
            struct.pack("<QII", offset, instance, isal_zlib.crc32(name.encode()))
            for (name, instance), offset in self.listed.items()
        )
        tail = struct.pack("<I", len(self.listed)) + entries
        magic = b"\nDir\n\0\0\0"
        self._write(magic + struct.pack("<I", isal_zlib.crc32(magic + bytes(4) + tail)) + tail)
        stream = self.crc if self.stream_crc else 0
        foot = b"\nFooter\0" + struct.pack("<QIII", self.offset, stream, len(self.listed), 0)
        self._write(foot + struct.pack("<I", isal_zlib.crc32(foot + bytes(4))))
        return self.out.getvalue() if isinstance(self.out, io.BytesIO) else b""
