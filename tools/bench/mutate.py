"""Lies about a saved state, from knowledge of its structure."""

from __future__ import annotations

import random
import struct
import zlib
from dataclasses import dataclass, field, replace
from typing import Self

from tools.bench.savwriter import PAGE, record

__all__ = ["Model", "flip", "mutate"]

_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFF, 0x1000, 0xFFFF, 1 << 20, 1 << 31, (1 << 32) - 1)


@dataclass(slots=True)
class _Unit:
    version: int
    instance: int
    pass_: int
    flags: int
    name: bytes
    # Each is (type byte, payload, bytes that replace the whole record when not None).
    records: list[tuple[int, bytes, bytes | None]] = field(default_factory=list)

    def copy(self) -> _Unit:
        return replace(self, records=list(self.records))


@dataclass(slots=True)
class Model:
    """A saved state taken apart; `write` puts it together with all checksums and offsets right."""

    head: bytearray
    units: list[_Unit]
    listed: list[int]  # the units in the directory, by number
    tail: bytes = b""
    lies: dict[str, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Take a valid file apart."""
        units: list[_Unit] = []
        at = 64
        starts = {}
        while data[at : at + 8] != b"\nTheEnd\0":
            starts[at] = len(units)
            version, instance, pass_, flags, size = struct.unpack_from("<IIIII", data, at + 24)
            unit = _Unit(version, instance, pass_, flags, data[at + 44 : at + 44 + size])
            at += 44 + size
            while data[at] & 15 != 1:
                first = data[at + 1]
                digits = 1 if first < 0x80 else 2 if first < 0xE0 else 3
                size = first if digits == 1 else first & (0x1F if digits == 2 else 0x0F)
                for byte in data[at + 2 : at + 1 + digits]:
                    size = size << 6 | byte & 0x3F
                start = at + 1 + digits
                unit.records.append((data[at], data[start : start + size], None))
                at = start + size
            at += 16
            units.append(unit)
        at += 44
        count = struct.unpack_from("<I", data, at + 12)[0]
        entries = [struct.unpack_from("<Q", data, at + 16 + 16 * i)[0] for i in range(count)]
        return cls(bytearray(data[:64]), units, [starts[e] for e in entries])

    def copy(self) -> Model:
        """One that can be changed without changing this one."""
        units = [unit.copy() for unit in self.units]
        return Model(bytearray(self.head), units, list(self.listed), self.tail, dict(self.lies))

    def write(self) -> bytes:
        """The file, with the lies in it."""
        lie = self.lies.get
        head = bytearray(self.head)
        head[60:64] = struct.pack("<I", zlib.crc32(head[:60] + bytes(4)) ^ lie("head_crc", 0))
        out, checked = bytearray(head), bool(head[52] & 1)
        crc, done, starts = 0, 0, []

        def stream() -> int:
            nonlocal crc, done
            crc, done = zlib.crc32(memoryview(out)[done:], crc), len(out)
            return crc if checked else 0

        def unit_head(magic: bytes, fields: tuple[int, ...], name: bytes) -> None:
            start = magic + struct.pack("<QI", len(out) ^ lie("unit_offset", 0), stream())
            rest = struct.pack("<IIIII", *fields, len(name) ^ lie("name_size", 0)) + name
            out.extend(start + struct.pack("<I", zlib.crc32(start + bytes(4) + rest)) + rest)

        for unit in self.units:
            starts.append(len(out))
            unit_head(
                b"\nUnit\n\0\0", (unit.version, unit.instance, unit.pass_, unit.flags), unit.name
            )
            begin = len(out)
            for kind, payload, whole in unit.records:
                if whole is None:
                    whole = bytes([kind]) + record(2, payload)[1:]
                out.extend(whole)
            out.extend(b"\x91\x0e")
            size = len(out) - begin + 14
            out.extend(
                struct.pack(
                    "<HIQ", checked ^ lie("term_flags", 0), stream(), size ^ lie("unit_size", 0)
                )
            )
        unit_head(b"\nTheEnd\0", (0, 0, 0xFFFFFFFF, 0), b"")
        entries = b""
        for number in self.listed:
            if self.units:
                entry = self.units[number % len(self.units)]
                name = zlib.crc32(entry.name[:-1])
                at = starts[number % len(self.units)] ^ lie("entry_offset", 0)
                entries += struct.pack("<QII", at, entry.instance, name)
        count = len(entries) // 16
        tail = struct.pack("<I", (count ^ lie("dir_count", 0)) & 0xFFFFFFFF) + entries
        magic = b"\nDir\n\0\0\0"
        out.extend(magic + struct.pack("<I", zlib.crc32(magic + bytes(4) + tail)) + tail)
        foot = b"\nFooter\0" + struct.pack(
            "<QIII", len(out) ^ lie("foot_offset", 0), stream(), count, 0
        )
        out.extend(foot + struct.pack("<I", zlib.crc32(foot + bytes(4))) + self.tail)
        return bytes(out)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Change bytes without a thought for checksums: cut, flip, overwrite, insert, remove."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1) if out else 0
        size = min(rng.choice((1, 1, 2, 4, 16, 300, 5000)), len(out) - at)
        match rng.randrange(6):
            case 0:
                del out[at:]
            case 1 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                out[at : at + size] = rng.randbytes(size)
            case 3:
                out[at:at] = rng.randbytes(rng.choice((1, 4, 64)))
            case 4:
                del out[at : at + size]
            case _:
                out[at:at] = out[at : at + size]
    return bytes(out)


def mutate(model: Model, others: list[Model], rng: random.Random) -> bytes:
    """A copy with one to four changes, checksums and offsets right but for the lies among them."""
    model = model.copy()
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_MUTATIONS)(model, others, rng)
    return model.write()


def _value(rng: random.Random) -> int:
    value = rng.choice(_INTERESTING)
    return (
        value
        if rng.random() < 0.7
        else max(value - 1, 0)
        if rng.random() < 0.5
        else rng.getrandbits(32)
    )


def _some_unit(model: Model, rng: random.Random) -> _Unit | None:
    """A unit, every other time pgm: most of the format is there."""
    pgm = [u for u in model.units if u.name == b"pgm\0"]
    pool = pgm if pgm and rng.random() < 0.6 else model.units
    return rng.choice(pool) if pool else None


def _header(model: Model, _others: list[Model], rng: random.Random) -> None:
    at = rng.choice((30, 32, 34, 36, 40, 44, 45, 46, 47, 48, 52, 52, 52, 56))
    model.head[at] = rng.choice((0, 1, 2, 3, 4, 8, 32, 255, rng.randrange(256)))


def _lie(model: Model, _others: list[Model], rng: random.Random) -> None:
    names = ("head_crc", "unit_offset", "name_size", "term_flags", "unit_size", "entry_offset")
    name = rng.choice((*names, "dir_count", "foot_offset"))
    model.lies[name] = rng.choice((1, 2, 8, 0x100, 0x7FFF)) if name != "term_flags" else 1


def _unit_field(model: Model, _others: list[Model], rng: random.Random) -> None:
    unit = _some_unit(model, rng)
    if unit is None:
        return
    match rng.randrange(5):
        case 0:
            unit.version = _value(rng)
        case 1:
            unit.instance = _value(rng)
        case 2:
            unit.pass_ = rng.choice((0, 1, 2, 0xFFFFFFFF, _value(rng)))
        case 3:
            unit.flags = _value(rng)
        case _:
            unit.name = rng.choice(
                (b"", b"\0", b"pgm\0", b"pgm", b"\xff\xfe\0", b"A" * 47 + b"\0", b"A" * 90)
            )


def _units(model: Model, others: list[Model], rng: random.Random) -> None:
    if not model.units:
        return
    at = rng.randrange(len(model.units))
    match rng.randrange(5):
        case 0:
            model.units.insert(at, rng.choice(model.units).copy())
        case 1:
            del model.units[at]
        case 2:
            rng.shuffle(model.units)
        case 3:
            other = rng.choice(others)
            model.units.insert(at, rng.choice(other.units).copy())
        case _:
            model.listed = [rng.randrange(99) for _ in range(rng.randrange(60))]
    if rng.random() < 0.6:
        # A directory that is right again lets the change through to what reads memory.
        last = {(u.name, u.instance): i for i, u in enumerate(model.units)}
        model.listed = [i for (name, _), i in last.items() if name != b"SSMLiveControl\0"]


def _records(model: Model, others: list[Model], rng: random.Random) -> None:
    unit = _some_unit(model, rng)
    if unit is None or not unit.records:
        return
    at = rng.randrange(len(unit.records))
    kind, payload, _ = unit.records[at]
    match rng.randrange(8):
        case 0:
            del unit.records[at]
        case 1:
            unit.records.insert(at, unit.records[at])
        case 2:
            other = rng.randrange(len(unit.records))
            unit.records[at], unit.records[other] = unit.records[other], unit.records[at]
        case 3:
            donor = _some_unit(rng.choice(others), rng)
            if donor is not None and donor.records:
                unit.records.insert(at, rng.choice(donor.records))
        case 4:
            unit.records[at] = (
                rng.choice((0x92, 0x93, 0x94, 0x82, 0x91, 0x95, rng.randrange(256))),
                payload,
                None,
            )
        case 5:
            unit.records[at] = (kind, payload, _lying(kind, payload, rng))
        case 6:
            size = rng.choice((0, 1, 12, 4095, 4096, 4097, 9000, 60000))
            unit.records.insert(at, (rng.choice((0x92, 0x93, 0x94)), rng.randbytes(size), None))
        case _:
            half = len(payload) // 2
            unit.records[at : at + 1] = [(kind, payload[:half], None), (kind, payload[half:], None)]


def _lying(kind: int, payload: bytes, rng: random.Random) -> bytes:
    """A record whose length is not that of its payload, or is written the long way."""
    size = rng.choice(
        (len(payload), len(payload) + 1, 0x10FFFF, 0x7FFFFFFF, max(len(payload) - 1, 0))
    )
    count = rng.choice((2, 3, 4, 5, 6))
    digits = [0x80 | size >> 6 * i & 0x3F for i in reversed(range(count - 1))]
    lead = (0xFF00 >> count) & 0xFF
    first = lead | size >> 6 * (count - 1) & (0x7F >> count)
    return bytes([kind, first, *digits]) + payload


def _payload(model: Model, _others: list[Model], rng: random.Random) -> None:
    """Change the payload of a record: in pgm, of a short one, which holds page records."""
    unit = _some_unit(model, rng)
    if unit is None or not unit.records:
        return
    short = [i for i, r in enumerate(unit.records) if len(r[1]) < 600]
    at = rng.choice(short) if short and rng.random() < 0.7 else rng.randrange(len(unit.records))
    kind, payload, whole = unit.records[at]
    data = bytearray(payload)
    place = rng.randrange(len(data) + 1)
    match rng.randrange(7):
        case 0 if data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
        case 1:
            data[place : place + 4] = struct.pack("<I", _value(rng))
        case 2:
            data[place : place + 8] = struct.pack("<Q", _value(rng) << rng.choice((0, 12, 20, 32)))
        case 3:
            data[place:place] = bytes(
                [rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x80, 0x81, 0x84, 0x88, 0xFF))]
            )
        case 4:
            del data[place:]
        case 5:
            data[place:place] = b"\x81" + struct.pack("<Q", rng.getrandbits(40) << 12)
        case _:
            data[place:place] = bytes(rng.choice((1, 100, 4000, 60000)))
    unit.records[at] = (kind, bytes(data[:65000]), whole)


def _bomb(model: Model, _others: list[Model], rng: random.Random) -> None:
    """Put something compressed into a page or unit: whole, cut, nested, or much larger inside."""
    unit = _some_unit(model, rng)
    if unit is None or not unit.records:
        return
    data = zlib.compress(bytes(rng.choice((10, 100_000, 3_000_000))), 9)
    for _ in range(rng.choice((0, 1, 3, 8))):
        packer = zlib.compressobj(9, zlib.DEFLATED, rng.choice((15, 31)))
        data = packer.compress(data) + packer.flush()
    if rng.random() < 0.3:
        data = (
            b"\x89PNG\r\n\x1a\n"
            + struct.pack(">I", _value(rng))
            + rng.choice((b"IDAT", b"zTXt", b"iTXt"))
            + data
        )
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data) + 1)]
    data = data[:PAGE].ljust(PAGE, b"\0")
    at = rng.randrange(len(unit.records))
    if len(unit.records[at][1]) > 600:
        unit.records[at] = (0x92, data, None)
    else:
        unit.records.insert(at, (0x92, data, None))


def _tail(model: Model, _others: list[Model], rng: random.Random) -> None:
    model.tail = rng.choice((b"\0", b"\nUnit\n\0\0", rng.randbytes(100)))


_MUTATIONS = (
    *(_header, _lie, _unit_field, _unit_field, _units, _units, _tail, _bomb),
    *(_records, _records, _records, _payload, _payload, _payload, _payload),
)
