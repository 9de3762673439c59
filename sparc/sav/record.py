"""Records, of which the content of every unit is made.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/SSM.cpp.
"""

from __future__ import annotations

from collections.abc import Callable

import lzf

from sparc.errors import Damaged, Unsupported
from sparc.sav import c_ssm
from sparc.sav.ssm import Header, Unit
from sparc.sav.stream import Stream

__all__ = ["decode_record", "decompress", "read_record", "record_size"]


def record_size(buf: bytes | bytearray | memoryview, at: int) -> tuple[int, int]:
    """Decode a record's length at buf[at]: returns (length, bytes it took, 0 if malformed).

    It is UTF-8's scheme stretched to 31 bits, over-long forms included.
    """
    first = buf[at]
    if first < 0x80:
        return first, 1
    count = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= count <= 6:
        return 0, 0
    size = first & (0x7F >> count)
    for byte in buf[at + 1 : at + count]:
        if byte & 0xC0 != 0x80:
            return 0, 0
        size = size << 6 | byte & 0x3F
    return size, count


def read_record(
    stream: Stream, unit: Unit, header: Header, bad: Callable[[Damaged], None]
) -> bytes | None:
    """The payload of the next record of a unit, decoded; None at its end (sizes are then set).

    Raises Damaged, or Unsupported for record types that VirtualBox does not write.
    """
    if stream.fill(c_ssm.MAX_RECORD + 8) < 2:
        raise Damaged("record: the file ends inside it", stream.tell(), 2, stream.end - stream.pos)
    offset, pos, buf = stream.tell(), stream.pos, stream.buf
    kind = buf[pos]
    if kind & 0xE0 != c_ssm.REC_FIXED:
        raise Damaged("record type", offset, None, kind)
    kind &= 0x0F
    if kind == c_ssm.REC_TERMINATOR:
        _read_terminator(stream, unit, header, bad)
        return None
    size, count = record_size(buf, pos + 1)
    if not count:
        raise Damaged("record length", offset + 1, None, bytes(buf[pos + 1 : pos + 7]))
    if size > c_ssm.MAX_RECORD:
        raise Damaged(
            "record length, longer than any VirtualBox writes", offset + 1, c_ssm.BLOCK, size
        )
    start = pos + 1 + count
    if start + size > stream.end:
        raise Damaged("record: the file ends inside it", offset, size, stream.end - start)
    payload = decode_record(kind, bytes(stream.view[start : start + size]), offset)
    stream.pos = start + size
    unit.content += len(payload)
    return payload


def decode_record(kind: int, data: bytes, offset: int) -> bytes:
    """The payload of a record of type `kind` (REC_RAW, _LZF or _ZERO) at file `offset`."""
    if kind == c_ssm.REC_RAW:
        return data
    if kind not in (c_ssm.REC_LZF, c_ssm.REC_ZERO):
        raise Unsupported("record type", kind, "1 to 4", offset)
    if not data:
        raise Damaged("record without its size byte", offset, 1, 0)
    length = data[0] * 1024
    if length > c_ssm.BLOCK:
        raise Damaged("size of a decoded record", offset, c_ssm.BLOCK, length)
    if kind == c_ssm.REC_ZERO:
        if len(data) != 1:
            raise Damaged("length of a zero record", offset, 1, len(data))
        return bytes(length)
    return decompress(data[1:], length, offset)


def decompress(data: bytes, length: int, offset: int) -> bytes:
    """LZF: `length` bytes out of `data`, or Damaged at file `offset`."""
    try:
        payload = lzf.decompress(data, length) if data and length else None
    except ValueError:
        payload = None
    if payload is None or len(payload) != length:
        raise Damaged("compressed record", offset, length, len(payload or b""))
    return bytes(payload)


def _read_terminator(
    stream: Stream, unit: Unit, header: Header, bad: Callable[[Damaged], None]
) -> None:
    offset = stream.tell()
    head = stream.take(2, "terminator")
    crc = stream.crc()
    data = head + stream.take(14, "terminator")
    raw = c_ssm.terminator.parse(data)
    unit.stored = stream.tell() - unit.data_offset
    if raw.size != 14 or not raw.type & c_ssm.REC_IMPORTANT or raw.flags & ~c_ssm.TERMINATOR_CRC:
        raise Damaged("terminator of the unit", offset, None, data)
    if raw.unit_size != unit.stored:
        raise Damaged("length in the terminator", offset + 8, unit.stored, raw.unit_size)
    if bool(raw.flags & c_ssm.TERMINATOR_CRC) != header.stream_crc:
        bad(Damaged("checksum flag of the terminator", offset, None, raw.flags, checksum=True))
    expected = crc if header.stream_crc else 0
    if raw.stream_crc != expected:
        what = "stream checksum at the end of the unit"
        bad(Damaged(what, offset, raw.stream_crc, expected, checksum=True))
