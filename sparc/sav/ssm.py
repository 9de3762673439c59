"""Headers, directory and footer of a saved state, with every checksum.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/SSM.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from construct import Container
from isal import isal_zlib

from sparc.errors import Damaged, NotASavedState, Unsupported
from sparc.sav import c_ssm
from sparc.sav.stream import Stream

__all__ = [
    "Directory",
    "Header",
    "Unit",
    "read_directory",
    "read_header",
    "read_unit",
]

_VERSION_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Header:
    """The file header: who wrote it and how. `units` is what the writer had registered."""

    major: int
    minor: int
    build: int
    revision: int
    host_bits: int
    units: int
    stream_crc: bool
    live: bool

    @property
    def version(self) -> str:
        """VirtualBox's version, such as 7.2.22."""
        return f"{self.major}.{self.minor}.{self.build}"


@dataclass(slots=True)
class Unit:
    """One data unit. Offsets and sizes in bytes; `pass_` is c_ssm.PASS_FINAL for the final pass.

    `stored` is its size in the file without its header, `content` that of its decoded payload.
    """

    name: str
    instance: int
    version: int
    pass_: int
    offset: int
    data_offset: int
    stored: int = 0
    content: int = 0

    @property
    def final(self) -> bool:
        return self.pass_ == c_ssm.PASS_FINAL


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the last unit of each name starts, as (offset, instance, CRC-32 of the name)."""

    entries: tuple[tuple[int, int, int], ...]


def _looks_like(head: bytes) -> str:
    """A guess at what a file without the magic is, from its first 4 KiB."""
    if not head:
        return "empty"
    counts = [head.count(value) for value in set(head)]
    entropy = -sum(n / len(head) * math.log2(n / len(head)) for n in counts)
    # Random bytes reach 7.95 bits in 4 KiB; VirtualBox encrypts the whole file, header included.
    return "encrypted" if len(head) >= 2048 and entropy > 7.8 else ""


def _check(
    stored: int, data: bytes, at: int, what: str, offset: int, bad: Callable[[Damaged], None]
) -> None:
    """Compare a structure's own CRC-32, computed with its field (at `at`) zero."""
    actual = isal_zlib.crc32(data[:at] + bytes(4) + data[at + 4 :])
    if actual != stored:
        bad(Damaged(f"checksum of the {what}", offset, stored, actual, checksum=True))


def read_header(stream: Stream, bad: Callable[[Damaged], None]) -> Header:
    """Read the 64-byte file header; a wrong checksum goes to `bad`.

    Raises NotASavedState, Unsupported (format 1.x and others), Damaged.
    """
    ahead = stream.fill(4096)
    magic = bytes(stream.view[:32])[:ahead]
    base = c_ssm.FILE_MAGIC_BASE
    if not magic.startswith(base):
        raise NotASavedState(magic, _looks_like(bytes(stream.view[: min(ahead, 4096)])))
    if magic != c_ssm.FILE_MAGIC:
        version = magic[len(base) :].split(b"\n")[0].decode("ascii", "replace").lstrip("V")
        if version in ("", "2.0"):
            raise Damaged("file magic", 0, c_ssm.FILE_MAGIC, magic)
        raise Unsupported("saved-state format", version, "2.0", 0)
    data = stream.take(64, "file header")
    raw = c_ssm.file_header.parse(data)
    _check(raw.crc, data, 60, "file header", 0, bad)
    if raw.reserved or raw.flags & ~(c_ssm.FLAG_STREAM_CRC | c_ssm.FLAG_LIVE):
        raise Unsupported("file header flags", f"{raw.flags:#x}", "0x0 to 0x3", 52)
    if (raw.gcphys_size, raw.gcptr_size) != (8, 8):
        raise Unsupported("address size", f"{raw.gcphys_size}/{raw.gcptr_size}", "8/8", 49)
    if not 0 < raw.major <= _VERSION_LIMIT or raw.host_bits not in (32, 64):
        raise Damaged("VirtualBox version in the file header", 32, None, raw.major)
    if not 1024 <= raw.max_decompressed <= c_ssm.BLOCK:
        raise Damaged("block size in the file header", 56, c_ssm.BLOCK, raw.max_decompressed)
    return Header(
        raw.major,
        raw.minor,
        raw.build,
        raw.revision,
        raw.host_bits,
        raw.units,
        bool(raw.flags & c_ssm.FLAG_STREAM_CRC),
        bool(raw.flags & c_ssm.FLAG_LIVE),
    )


def read_unit(stream: Stream, header: Header, bad: Callable[[Damaged], None]) -> Unit | None:
    """Read the unit header at the stream's position; None at the end of the units.

    Raises Damaged for a wrong structure; wrong checksums go to `bad`.
    """
    offset, crc = stream.tell(), stream.crc()
    data = stream.take(44, "unit header")
    raw: Container[int] = c_ssm.unit_header.parse(data)
    if raw.magic not in (c_ssm.UNIT_MAGIC, c_ssm.END_MAGIC):
        raise Damaged("unit magic", offset, c_ssm.UNIT_MAGIC, raw.magic)
    last = raw.magic == c_ssm.END_MAGIC
    if raw.name_size > c_ssm.MAX_NAME or (raw.name_size < 2) != last or (last and raw.name_size):
        raise Damaged("length of the unit's name", offset + 40, None, raw.name_size)
    name = stream.take(raw.name_size, "unit name")
    _check(raw.crc, data + name, 20, "unit header", offset, bad)
    if raw.offset != offset:
        raise Damaged("offset in the unit header", offset + 8, offset, raw.offset)
    if raw.flags:
        raise Unsupported("unit header flags", f"{raw.flags:#x}", "0x0", offset + 36)
    expected = crc if header.stream_crc else raw.stream_crc
    if raw.stream_crc != expected:
        bad(Damaged("stream checksum before the unit", offset, raw.stream_crc, crc, checksum=True))
    if last:
        if raw.instance or raw.version or raw.pass_ != c_ssm.PASS_FINAL:
            raise Damaged("end of the units", offset, None, None)
        return None
    if not name.endswith(b"\0") or b"\0" in name[:-1]:
        raise Damaged("name of the unit", offset + 44, None, name)
    text = name[:-1].decode("ascii", "backslashreplace")
    return Unit(text, raw.instance, raw.version, raw.pass_, offset, stream.tell())


def read_directory(
    stream: Stream, header: Header, units: list[Unit], bad: Callable[[Damaged], None]
) -> Directory:
    """Read the directory and the footer after the last unit; both must agree with `units`.

    Raises Damaged for a wrong structure; wrong checksums go to `bad`.
    """
    offset = stream.tell()
    head = stream.take(16, "directory")
    raw = c_ssm.directory.parse(head)
    if raw.magic != c_ssm.DIR_MAGIC:
        raise Damaged("directory magic", offset, c_ssm.DIR_MAGIC, raw.magic)
    if raw.entries >= c_ssm.MAX_ENTRIES:
        raise Damaged("number of directory entries", offset + 12, len(units), raw.entries)
    data = b"".join(stream.take(16, "directory") for _ in range(raw.entries))
    _check(raw.crc, head + data, 8, "directory", offset, bad)
    listed = [c_ssm.directory_entry.parse(data[i : i + 16]) for i in range(0, len(data), 16)]
    entries = tuple((e.offset, e.instance, e.name_crc) for e in listed)
    # The last unit of each name and instance is listed, but for the progress marks of a live save.
    last = {(u.name, u.instance): u.offset for u in units if u.name != c_ssm.LIVE_CONTROL}
    real = {
        (at, i, isal_zlib.crc32(name.encode("ascii", "replace"))) for (name, i), at in last.items()
    }
    if set(entries) != real or len(entries) != len(real):
        raise Damaged("directory, it does not list the units that stand in the file", offset)
    _read_footer(stream, header, raw.entries, bad)
    return Directory(entries)


def _read_footer(
    stream: Stream, header: Header, entries: int, bad: Callable[[Damaged], None]
) -> None:
    offset, crc = stream.tell(), stream.crc()
    data = stream.take(32, "footer")
    raw = c_ssm.footer.parse(data)
    if raw.magic != c_ssm.FOOTER_MAGIC:
        raise Damaged("footer magic", offset, c_ssm.FOOTER_MAGIC, raw.magic)
    _check(raw.crc, data, 28, "footer", offset, bad)
    if raw.offset != offset:
        raise Damaged("offset in the footer", offset + 8, offset, raw.offset)
    if raw.entries != entries or raw.reserved:
        raise Damaged(
            "number of directory entries in the footer", offset + 20, entries, raw.entries
        )
    expected = crc if header.stream_crc else 0
    if raw.stream_crc != expected:
        what = "stream checksum in the footer"
        bad(Damaged(what, offset, raw.stream_crc, expected, checksum=True))
    if stream.size != stream.tell():
        raise Damaged("end of the file, there is more after the footer", stream.tell(), None, None)
