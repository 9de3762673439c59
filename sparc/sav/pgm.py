"""The `pgm` unit: what guest memory there is, and the stream of its pages.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/PGMSavedState.cpp.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from construct import CheckError, ConstError, StreamError

from sparc.errors import Damaged, LimitExceeded, Unsupported
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RUN_STRIDE, PageIndex
from sparc.sav.ssm import Header, Unit, read_record, record_size
from sparc.sav.stream import Stream

__all__ = ["Memory", "PageReader", "Range"]

FOUR_GB = 1 << 32
# More than this would need more index than our memory bound has room for.
MAX_RAM = 1 << 38
_MAX_CONFIG = 1 << 18
_MAX_CPUS = 4096

# A page of RAM stored as it is, next to the one before: by far the most frequent sequence.
_RUN_HEADER = b"\x92\x01\x01\x92\xe1\x80\x80"
_RUN = np.frombuffer(_RUN_HEADER, np.uint8)
# The same, compressed. VirtualBox writes these lengths in three bytes whatever they are.
_PACKED_HEADER = b"\x92\x01\x01\x93"
_PACKED_MOST = 7 + 1 + c_pgm.PAGE
_SAME = {value: re.compile(re.escape(bytes([value])) + b"+") for value in (0, 3, 8)}
_WITH_DATA = (c_pgm.RAM_RAW, c_pgm.MMIO2_RAW, c_pgm.ROM_VIRGIN, c_pgm.ROM_SHADOW_RAW)
_RAM_KINDS = (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED)
_MMIO2_KINDS = (c_pgm.MMIO2_RAW, c_pgm.MMIO2_ZERO)
_NOWHERE = -2  # as a last page: the next one is in no range


@dataclass(frozen=True, slots=True)
class Range:
    """A ROM (with `address`, a GPA) or MMIO2 range; `size` in bytes."""

    id: int
    device: str
    instance: int
    region: int
    description: str
    size: int
    address: int | None = None


@dataclass(slots=True)
class Memory:
    """The VM's memory as configured: sizes in bytes, ranges by id. `cpus` is 0 until known."""

    size: int
    hole: int
    roms: dict[int, Range]
    mmio2: dict[int, Range]
    cpus: int = 0
    ballooned: int = 0
    index: PageIndex = field(default_factory=PageIndex)

    def ram_ranges(self) -> list[tuple[int, int]]:
        """Where RAM is, as (first GPA, size) in bytes: one range, or two around the hole."""
        below = min(self.size, FOUR_GB - self.hole)
        above = self.size - below
        return [(0, below), (FOUR_GB, above)] if above else [(0, below)]

    def is_ram(self, address: int) -> bool:
        """Whether this GPA lies in RAM."""
        return any(start <= address < start + size for start, size in self.ram_ranges())


def _ranges(data: io.BytesIO, offset: int, *, rom: bool) -> dict[int, Range]:
    """Parse a list of ROM or MMIO2 ranges, by id. Raises StreamError where it is cut."""
    ranges: dict[int, Range] = {}
    while True:
        first = data.read(1)
        if first == bytes([c_pgm.RANGES_END]):
            return ranges
        data.seek(-len(first), io.SEEK_CUR)
        raw = (c_pgm.rom_range if rom else c_pgm.mmio2_range).parse_stream(data)
        address = raw.address if rom else None
        wrong = raw.id == 0 or raw.id in ranges or raw.size % c_pgm.PAGE or raw.size > MAX_RAM
        if wrong or (address or 0) % c_pgm.PAGE:
            raise Damaged("memory range", offset, None, raw.id)
        names = [
            t.text.rstrip(b"\0").decode("utf-8", "backslashreplace")
            for t in (raw.device, raw.description)
        ]
        ranges[raw.id] = Range(
            raw.id, names[0], raw.instance, raw.region, names[1], raw.size, address
        )


class PageReader:
    """Reads every `pgm` unit of one file in turn, into one Memory.

    After each window, and before the stream slides, `flushed(first_row)` is called: the data of
    the rows from `first_row` on is then still in the stream's buffer.
    """

    def __init__(
        self,
        stream: Stream,
        header: Header,
        bad: Callable[[Damaged], None],
        flushed: Callable[[Memory, int], None] | None = None,
    ) -> None:
        self.stream = stream
        self.header = header
        self.bad = bad
        self.flushed = flushed
        self.memory: Memory | None = None
        self._pending = b""
        self._row = 0

    def read(self, unit: Unit) -> None:
        """Read one `pgm` unit to its end. Raises Damaged, Unsupported, LimitExceeded."""
        if unit.version != c_pgm.VERSION:
            raise Unsupported("version of the unit pgm", unit.version, c_pgm.VERSION, unit.offset)
        self._pending = b""
        if unit.final:
            cpus, ballooned = self._fixed(unit)
        else:
            cpus = ballooned = 0
        # A live save has its configuration in pass 0; a plain one has it in its only unit.
        if (unit.pass_ == 0) if self.header.live else unit.final:
            self._config(unit)
        if self.memory is None:
            raise Damaged("order of the pgm units, none has the memory's size", unit.offset)
        if unit.final:
            self.memory.cpus, self.memory.ballooned = cpus, ballooned
        try:
            self._pages(unit, self.memory)
        finally:
            self._flush(self.memory)
        if read_record(self.stream, unit, self.header, self.bad) is not None:
            raise Damaged(
                "end of the unit pgm, there is more after its end mark", self.stream.tell()
            )

    def _more(self, unit: Unit, what: str) -> None:
        payload = read_record(self.stream, unit, self.header, self.bad)
        if payload is None:
            raise Damaged(f"{what}: the unit pgm ends inside it", self.stream.tell())
        self._pending += payload
        if len(self._pending) > _MAX_CONFIG:
            raise LimitExceeded(f"{what} in bytes", _MAX_CONFIG, len(self._pending), unit.offset)

    def _fixed(self, unit: Unit) -> tuple[int, int]:
        """The part before the configuration: returns (CPUs, ballooned pages)."""
        while len(self._pending) < c_pgm.FIXED_SIZE:
            self._more(unit, "PGM fields")
        try:
            raw = c_pgm.fixed.parse(self._pending)
            self._pending = self._pending[c_pgm.FIXED_SIZE :]
            cpus = 0
            # Each CPU's fields start with the same mark, which no page record can start with.
            while self._begins_struct(unit) or not cpus:
                while len(self._pending) < c_pgm.CPU_SIZE:
                    self._more(unit, "PGM fields of the CPUs")
                c_pgm.cpu.parse(self._pending)
                self._pending = self._pending[c_pgm.CPU_SIZE :]
                cpus += 1
                if cpus > _MAX_CPUS:
                    raise LimitExceeded("number of CPUs", _MAX_CPUS, cpus, unit.offset)
        except ConstError as error:
            raise Damaged("mark around the PGM fields", unit.data_offset) from error
        return cpus, int(raw.ballooned_pages)

    def _begins_struct(self, unit: Unit) -> bool:
        mark = c_pgm.STRUCT_BEGIN.to_bytes(4, "little")
        while len(self._pending) < 4 and mark.startswith(self._pending):
            self._more(unit, "PGM fields")
        return self._pending.startswith(mark)

    def _config(self, unit: Unit) -> None:
        if self.memory is not None:
            raise Damaged("memory configuration, it stands twice", unit.offset)
        while True:
            data = io.BytesIO(self._pending)
            try:
                raw = c_pgm.ram_config.parse_stream(data)
                roms = _ranges(data, unit.data_offset, rom=True)
                mmio2 = _ranges(data, unit.data_offset, rom=False)
                break
            except StreamError:
                self._more(unit, "memory configuration")
            except CheckError as error:
                raise Damaged("name of a memory range", unit.data_offset) from error
        if raw.size > MAX_RAM:
            raise LimitExceeded("RAM size in bytes", MAX_RAM, raw.size, unit.data_offset)
        if raw.size % c_pgm.PAGE or raw.hole % c_pgm.PAGE or raw.size == 0:
            raise Damaged("RAM size", unit.data_offset, None, raw.size)
        self._pending = data.read()
        self.memory = Memory(raw.size, raw.hole, roms, mmio2)

    def _flush(self, memory: Memory) -> None:
        if self.flushed is not None and self._row < len(memory.index):
            self.flushed(memory, self._row)
        self._row = len(memory.index)

    def _pages(self, unit: Unit, memory: Memory) -> None:
        """The page records, up to and including the end mark."""
        stream, index, buf = self.stream, memory.index, self.stream.buf
        limits = [(s >> 12, (s + n) >> 12) for s, n in memory.ram_ranges()]
        rules = _Rules(memory, limits)
        while True:
            # No call below may slide the window before its rows are flushed.
            if stream.end - stream.pos < stream.MARGIN and stream.base + stream.end < stream.size:
                self._flush(memory)
                stream.fill(stream.MARGIN)
            pos, end = stream.pos, stream.end
            # The hot path works on whole runs of neighbouring raw pages.
            if (
                not self._pending
                and rules.ram != _NOWHERE
                and buf.startswith(_RUN_HEADER, pos)
                and end - pos >= RUN_STRIDE
            ):
                count = self._run(pos, end, rules.ram_left())
                if count:
                    first = rules.next_ram(count)
                    index.add(stream.base + pos + 3, first, count, c_pgm.RAM_RAW)
                    stream.pos = pos + count * RUN_STRIDE
                    unit.content += count * (c_pgm.PAGE + 1)
                    continue
            elif (
                not self._pending and rules.ram != _NOWHERE and buf.startswith(_PACKED_HEADER, pos)
            ):
                count = self._packed(index, rules)
                if count:
                    unit.content += count * (c_pgm.PAGE + 1)
                    continue
            if self._headers(unit, rules, index):
                return

    def _run(self, pos: int, end: int, limit: int) -> int:
        """How many raw pages follow each other at buf[pos], at most `limit`."""
        buf = self.stream.buf
        most = min((end - pos) // RUN_STRIDE, limit)
        if most < 2 or not buf.startswith(_RUN_HEADER, pos + RUN_STRIDE):
            return min(most, 1)
        heads = np.ndarray((most, len(_RUN)), np.uint8, buf, pos, (RUN_STRIDE, 1))
        same = (heads == _RUN).all(axis=1)
        return most if same.all() else int(same.argmin())

    def _packed(self, index: PageIndex, rules: _Rules) -> int:
        """Pass over neighbouring compressed pages; returns how many there were."""
        stream, buf = self.stream, self.stream.buf
        pos, last, left, base = (
            stream.pos,
            stream.end - _PACKED_MOST,
            rules.ram_left(),
            stream.base + 3,
        )
        offsets: list[int] = []
        while pos <= last and left and buf.startswith(_PACKED_HEADER, pos):
            digits = int.from_bytes(buf[pos + 4 : pos + 7])
            size = digits >> 4 & 0xF000 | digits >> 2 & 0xFC0 | digits & 0x3F
            if digits & 0xF0C0C0 != 0xE08080 or not 1 < size <= c_pgm.PAGE or buf[pos + 7] != 4:
                break
            offsets.append(base + pos)
            pos += 7 + size
            left -= 1
        if offsets:
            index.add_single(offsets, rules.next_ram(len(offsets)), c_pgm.RAM_RAW)
            stream.pos = pos
        return len(offsets)

    def _headers(self, unit: Unit, rules: _Rules, index: PageIndex) -> bool:
        """Read one record of page headers and the data of its last one; True at the end mark."""
        stream = self.stream
        if not self._pending or rules.short:
            where = stream.tell()
            payload = read_record(stream, unit, self.header, self.bad)
            if payload is None:
                raise Damaged("page records: the unit pgm ends without its end mark", where)
            self._pending += payload
        data, at = self._pending, 0
        rules.short = False
        while at < len(data):
            first = data[at]
            if first in _SAME:
                found = _SAME[first].match(data, at)
                assert found
                count = found.end() - at
                page, tag = rules.follow(first, count, stream.tell())
                index.add(0, page, count, tag)
                at += count
                continue
            if first == c_pgm.RECORD_END:
                if at + 1 != len(data):
                    raise Damaged("end of the page records, more follows", stream.tell())
                return True
            kind = first & ~c_pgm.FLAG_ADDRESS
            if kind > c_pgm.RAM_BALLOONED:
                raise Unsupported("page record type", f"{first:#x}", "0x00 to 0x08", stream.tell())
            size = 0 if first == kind else 8 if kind in _RAM_KINDS else 5
            rom = c_pgm.ROM_VIRGIN <= kind <= c_pgm.ROM_PROTECTION
            if at + 1 + size + rom > len(data):
                rules.short = True
                break
            if size:
                rules.jump(kind, data[at + 1 : at + 1 + size], stream.tell())
            page, tag = rules.follow(kind, 1, stream.tell())
            at += 1 + size + rom
            if kind not in _WITH_DATA:
                if kind != c_pgm.ROM_PROTECTION:
                    index.add(0, page, 1, tag)
                continue
            if at != len(data):
                raise Damaged("page records, a page's data does not start a record", stream.tell())
            index.add(self._data(unit), page, 1, tag)
        self._pending = data[at:]
        return False

    def _data(self, unit: Unit) -> int:
        """Pass over the record of one page; returns its file offset."""
        stream, buf = self.stream, self.stream.buf
        offset, pos = stream.tell(), stream.pos
        if stream.fill(c_pgm.PAGE + 8) < 8:
            raise Damaged("page: the file ends inside it", offset, 8, stream.end - stream.pos)
        pos = stream.pos
        size, count = record_size(buf, pos + 1)
        start = pos + 1 + count
        kind = buf[pos] & 0x0F
        if kind == c_ssm.REC_RAW:
            right = size == c_pgm.PAGE
        else:
            right = 0 < size <= c_pgm.PAGE + 1 and buf[start] == c_pgm.PAGE // 1024
            right &= kind == c_ssm.REC_LZF or (kind == c_ssm.REC_ZERO and size == 1)
        if not right or not count or buf[pos] & 0xE0 != c_ssm.REC_FIXED:
            raise Damaged("record of a page", offset, None, bytes(buf[pos : pos + 5]))
        if start + size > stream.end:
            raise Damaged("page: the file ends inside it", offset, size, stream.end - start)
        stream.pos = start + size
        unit.content += c_pgm.PAGE
        return offset


class _Rules:
    """Where the next page record applies, as VirtualBox's loader has it, with every bound."""

    def __init__(self, memory: Memory, limits: list[tuple[int, int]]) -> None:
        self.memory = memory
        self.limits = limits
        self.ram = _NOWHERE  # the last RAM page's number
        self.id = 0xFF
        self.page = _NOWHERE
        self.short = False

    def ram_left(self) -> int:
        """How many more pages the RAM range of the next one has."""
        for first, end in self.limits:
            if first <= self.ram + 1 < end:
                return end - self.ram - 1
        return 0

    def next_ram(self, count: int) -> int:
        """Step over `count` RAM pages; returns the first one's number."""
        first = self.ram + 1
        self.ram += count
        self.id = 0xFF
        return first

    def jump(self, kind: int, address: bytes, where: int) -> None:
        """Set the position so that the next page is the one at `address`."""
        value = int.from_bytes(address, "little")
        if kind in _RAM_KINDS:
            if value & 0xFFF:
                raise Damaged("address of a page, it is not aligned", where, None, value)
            self.ram = (value >> 12) - 1
            if not self.ram_left():
                raise Damaged("address of a page, it is outside RAM", where, None, value)
        else:
            self.id, self.page = value & 0xFF, (value >> 8) - 1

    def follow(self, kind: int, count: int, where: int) -> tuple[int, int]:
        """Apply `count` records of `kind`: returns (first page number, tag for the index)."""
        if kind in _RAM_KINDS:
            if self.ram_left() < count:
                raise Damaged("address of a page, it is outside RAM", where, None, self.ram + 1)
            return self.next_ram(count), kind
        ranges = self.memory.mmio2 if kind in _MMIO2_KINDS else self.memory.roms
        owner = ranges.get(self.id)
        first = self.page + 1
        if owner is None or first + count > owner.size >> 12:
            raise Damaged("page of a memory range, there is no such", where, None, self.id)
        self.page += count
        self.ram = _NOWHERE
        return first, kind | self.id << 8
