"""The `pgm` unit: the memory configuration and the stream of pages.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/PGMSavedState.cpp.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
from construct import ConstError, StreamError

from sparc.errors import Damaged, LimitExceeded, Unsupported
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RUN_STRIDE, PageIndex
from sparc.sav.memory import Memory, parse_config
from sparc.sav.position import RAM_KINDS, Position
from sparc.sav.record import read_record, record_size
from sparc.sav.ssm import Header, Unit
from sparc.sav.stream import Stream

__all__ = ["PageReader"]

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
        self._short = False
        self._row = 0

    def read(self, unit: Unit) -> None:
        """Read one `pgm` unit to its end. Raises Damaged, Unsupported, LimitExceeded."""
        if unit.version != c_pgm.VERSION:
            raise Unsupported("version of the unit pgm", unit.version, c_pgm.VERSION, unit.offset)
        self._pending, self._short = b"", False
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
        while self.memory is None:
            data = io.BytesIO(self._pending)
            try:
                self.memory = parse_config(data, unit.data_offset)
            except StreamError:
                self._more(unit, "memory configuration")
        self._pending = data.read()

    def _flush(self, memory: Memory) -> None:
        if self.flushed is not None and self._row < len(memory.index):
            self.flushed(memory, self._row)
        self._row = len(memory.index)

    def _pages(self, unit: Unit, memory: Memory) -> None:
        """The page records, up to and including the end mark."""
        stream, index, buf = self.stream, memory.index, self.stream.buf
        position = Position(memory)
        while True:
            # No call below may slide the window before its rows are flushed.
            if stream.end - stream.pos < stream.MARGIN and stream.base + stream.end < stream.size:
                self._flush(memory)
                stream.fill(stream.MARGIN)
            pos, end = stream.pos, stream.end
            # The hot path works on whole runs of neighbouring raw pages.
            if (
                not self._pending
                and position.in_ram
                and buf.startswith(_RUN_HEADER, pos)
                and end - pos >= RUN_STRIDE
            ):
                count = self._run(pos, end, position.ram_left())
                if count:
                    first = position.next_ram(count)
                    index.add(stream.base + pos + 3, first, count, c_pgm.RAM_RAW)
                    stream.pos = pos + count * RUN_STRIDE
                    unit.content += count * (c_pgm.PAGE + 1)
                    continue
            elif not self._pending and position.in_ram and buf.startswith(_PACKED_HEADER, pos):
                count = self._packed(index, position)
                if count:
                    unit.content += count * (c_pgm.PAGE + 1)
                    continue
            if self._headers(unit, position, index):
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

    def _packed(self, index: PageIndex, position: Position) -> int:
        """Pass over neighbouring compressed pages; returns how many there were."""
        stream, buf = self.stream, self.stream.buf
        pos, last, left, base = (
            stream.pos,
            stream.end - _PACKED_MOST,
            position.ram_left(),
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
            index.add_single(offsets, position.next_ram(len(offsets)), c_pgm.RAM_RAW)
            stream.pos = pos
        return len(offsets)

    def _headers(self, unit: Unit, position: Position, index: PageIndex) -> bool:
        """Read one record of page headers and the data of its last one; True at the end mark."""
        stream = self.stream
        if not self._pending or self._short:
            where = stream.tell()
            payload = read_record(stream, unit, self.header, self.bad)
            if payload is None:
                raise Damaged("page records: the unit pgm ends without its end mark", where)
            self._pending += payload
        data, at = self._pending, 0
        self._short = False
        while at < len(data):
            first = data[at]
            if first in _SAME:
                found = _SAME[first].match(data, at)
                assert found
                count = found.end() - at
                page, tag = position.follow(first, count, stream.tell())
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
            size = 0 if first == kind else 8 if kind in RAM_KINDS else 5
            rom = c_pgm.ROM_VIRGIN <= kind <= c_pgm.ROM_PROTECTION
            if at + 1 + size + rom > len(data):
                self._short = True
                break
            if size:
                position.jump(kind, data[at + 1 : at + 1 + size], stream.tell())
            page, tag = position.follow(kind, 1, stream.tell())
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
