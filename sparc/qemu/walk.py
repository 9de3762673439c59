"""One pass over a file that QEMU saved a VM into; the face of sparc.sav.walk.Walk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from construct import ConstructError

from sparc.errors import Damaged, LimitExceeded, NotASavedState, NotReadable, SavError, Unsupported
from sparc.qemu import c_stream
from sparc.qemu.devices import is_whole
from sparc.qemu.memory import Block, StreamMemory, beside, placed
from sparc.sav import c_pgm, c_ssm
from sparc.sav.memory import MAX_RAM
from sparc.sav.ssm import Header, Unit
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk

__all__ = ["HEAD", "StreamHeader", "StreamWalk", "is_stream"]

HEAD = 8
"""Bytes before a page's content in a plain stream."""

_STRIDE = HEAD + c_stream.PAGE
_ZERO_STRIDE = HEAD + 1
_MOST_BLOCKS = 1 << 12
_MOST_DEVICES = 256 << 20
_WINDOW = 4 << 20
_PIECE = 1 << 20
_WITHOUT_MEMORY = ("x-ignore-shared", "x-colo")
# After so many rows who listens is told.
_ROWS = 4096


@dataclass(frozen=True, slots=True)
class StreamHeader(Header):
    """`machine` is QEMU's machine type, or ""; `mapped`: whether pages stand at their places."""

    machine: str = ""
    mapped: bool = False

    @classmethod
    def of(cls, machine: str, *, mapped: bool) -> Self:
        """Nothing of what VirtualBox tells of itself is in these files."""
        return cls(0, 0, 0, 0, 64, 1, False, False, machine, mapped)

    @property
    def version(self) -> str:
        """What wrote it, as far as that is in the file."""
        return f"QEMU ({self.machine})" if self.machine else "QEMU"


def is_stream(stream: Stream) -> bool:
    """Whether a file begins as QEMU's do. Raises NotReadable."""
    try:
        return os.pread(stream.fd, 4, 0) == c_stream.MAGIC
    except OSError as error:
        raise NotReadable(stream.path, error.strerror or str(error)) from error


class _Window:
    """A file, read by offset."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.pos = 0
        self.base = 0
        self.data = b""

    def fill(self, count: int) -> int:
        """Have `count` bytes from `pos` on, or what there is; how many there are."""
        at = self.pos - self.base
        if at < 0 or at + count > len(self.data):
            try:
                self.data = os.pread(self.stream.fd, max(count, _WINDOW), self.pos)
            except OSError as error:
                raise NotReadable(self.stream.path, error.strerror or str(error)) from error
            self.base, at = self.pos, 0
        return len(self.data) - at

    def take(self, count: int, what: str) -> bytes:
        """The next bytes. Raises Damaged at the file's end."""
        if (there := self.fill(count)) < count:
            raise Damaged(f"{what}: the file ends inside it", self.pos, count, there)
        at = self.pos - self.base
        self.pos += count
        return self.data[at : at + count]

    def number(self, size: int, what: str) -> int:
        """The same, as a number."""
        return int.from_bytes(self.take(size, what), "big")

    def text(self, what: str) -> str:
        """A name with its length before it."""
        return self.take(self.number(1, what), what).decode("utf-8", "backslashreplace")


class StreamWalk(Walk):
    """Reads a stream from its first byte to its last.

    What is wrong goes to `problems`, and ends the walk (`complete` stays False): there are no
    checksums. Subclasses see the content: `unit_data` gets what devices saved, as the unit
    "devices"; `pages` the rows of `memory.index`, whose data they read from the file.
    """

    header: StreamHeader | None
    memory: StreamMemory | None

    def __init__(self, source: str | os.PathLike[str] | Stream) -> None:
        super().__init__(source)
        self._window = _Window(self.stream)
        self._blocks: list[Block] = []
        self._machine = ""
        self._row = 0
        # Of the last page: others may be of the same, from one section to the next.
        self._name = ""

    @property
    def head(self) -> int:
        """Bytes of a page's record before its content."""
        return 0 if self.header is not None and self.header.mapped else HEAD

    def run(self) -> Self:
        """Walk. Raises NotReadable, NotASavedState, Unsupported (format); nothing else."""
        window = self._window
        if not is_stream(self.stream):
            raise NotASavedState(os.pread(self.stream.fd, 32, 0), "")
        window.pos = 4
        if (version := window.number(4, "header")) != c_stream.VERSION:
            raise Unsupported("version of QEMU's stream", version, c_stream.VERSION, 4)
        try:
            self._walk()
            self.complete = True
        except SavError as error:
            error.__cause__ = error.__context__ = None
            self.problems.insert(0, error.with_traceback(None))
        except ConstructError:
            self.problems.insert(0, Damaged("stream", window.pos))
        if self.header is None:
            self.header = StreamHeader.of(self._machine, mapped=False)
        return self

    def _walk(self) -> None:
        window = self._window
        kind = window.number(1, "configuration")
        if kind == c_stream.CONFIGURATION:
            self._machine = window.take(window.number(4, "configuration"), "machine").decode(
                "ascii", "backslashreplace"
            )
            kind = window.number(1, "section")
            while kind == c_stream.SUBSECTION:
                self._configured()
                kind = window.number(1, "section")
        kind = self._commands(kind)
        number = self._begin(kind)
        memory = self.memory
        assert memory is not None
        while (kind := self._commands(window.number(1, "section"))) != -1:
            if kind not in (c_stream.SECTION_PART, c_stream.SECTION_END):
                raise Unsupported("section of QEMU's stream", kind, "memory", window.pos - 1)
            if window.number(4, "section") != number:
                raise Unsupported("section of QEMU's stream", "of a disk", "memory", window.pos)
            self._pages(memory)
            self._footer(number)
            if kind == c_stream.SECTION_END:
                break
        self._tell_rows(memory)
        self._devices()

    def _commands(self, kind: int) -> int:
        """Pass over what is said to the reader; what comes after it."""
        window = self._window
        while kind == c_stream.COMMAND:
            window.number(2, "command")
            window.take(window.number(2, "command"), "command")
            kind = window.number(1, "section")
        return kind

    def _configured(self) -> None:
        window, what = self._window, "configuration"
        name = window.text(what)
        window.number(4, what)
        if name == "configuration/capabilities":
            for _ in range(min(window.number(4, what), _MOST_BLOCKS)):
                if (capability := window.text(what)) in _WITHOUT_MEMORY:
                    raise Unsupported("capability of QEMU", capability, "mapped-ram", window.pos)
        elif name == "configuration/target-page-bits":
            window.number(4, what)
        elif name == "configuration/uuid":
            window.take(16, what)
        else:
            raise Unsupported("part of QEMU's configuration", name, "its capabilities", window.pos)

    def _begin(self, kind: int) -> int:
        """The start of the section of memory: the blocks. Its number."""
        window, what = self._window, "list of memory"
        offset = window.pos - 1
        if kind != c_stream.SECTION_START:
            raise Unsupported("first section of QEMU's stream", kind, "memory", offset)
        number = window.number(4, what)
        if (name := window.text(what)) != "ram":
            raise Unsupported("first section of QEMU's stream", name, "ram", offset)
        window.number(4, what)
        if (version := window.number(4, what)) != c_stream.RAM_VERSION:
            raise Unsupported("version of QEMU's memory", version, c_stream.RAM_VERSION, offset)
        word = window.number(8, what)
        if word & c_stream.RAM_FLAGS != c_stream.RAM_SIZES:
            raise Damaged("size of memory", window.pos - 8, None, word)
        left = word & ~c_stream.RAM_FLAGS
        mapped = False
        while left > 0:
            block = Block(window.text(what), window.number(8, what))
            self._bounded(block, left)
            self._blocks.append(block)
            left -= block.size
            # Of a plain stream the next is a block's name, or the end of the list: neither begins
            # with four bytes that say 1.
            if len(self._blocks) == 1:
                mapped = window.fill(28) >= 28 and self._peek(4) == b"\0\0\0\1"
            if mapped:
                self._mapped(block)
        if window.number(8, what) != c_stream.RAM_END:
            raise Damaged("end of the list of memory", window.pos - 8)
        self._footer(number)
        self.header = StreamHeader.of(self._machine, mapped=mapped)
        places = placed(self._blocks, self._machine, beside(self.stream.path))
        if not places:
            raise Unsupported("memory of QEMU", "without RAM", "one block of it", offset)
        self.memory = StreamMemory.of(self._blocks, places, c_stream.PAGE if mapped else _STRIDE)
        if mapped:
            for block in self._blocks:
                self._stored(self.memory, block)
        return number

    def _peek(self, count: int) -> bytes:
        at = self._window.pos - self._window.base
        return self._window.data[at : at + count]

    def _bounded(self, block: Block, left: int) -> None:
        where = self._window.pos
        if len(self._blocks) >= _MOST_BLOCKS:
            raise LimitExceeded("blocks of memory", _MOST_BLOCKS, len(self._blocks) + 1, where)
        if block.size > left or block.size > MAX_RAM:
            raise Damaged("size of a block of memory", where - 8, left, block.size)

    def _footer(self, number: int) -> None:
        window = self._window
        mark = window.number(1, "end of a section")
        if mark != c_stream.SECTION_FOOTER or window.number(4, "end of a section") != number:
            raise Damaged("end of a section", window.pos)

    # -- mapped-ram

    def _mapped(self, block: Block) -> None:
        window = self._window
        head = c_stream.mapped_header.parse(
            window.take(c_stream.mapped_header.sizeof(), "block of memory")
        )
        if (head.version, head.page_size) != (c_stream.MAPPED_VERSION, c_stream.PAGE):
            raise Unsupported(
                "mapped-ram", f"{head.version}, pages of {head.page_size}", "1, pages of 4096"
            )
        end = head.pages + block.size
        if not window.pos <= head.bitmap <= head.pages or end > self.stream.size + block.size:
            raise Damaged("place of a block of memory", window.pos, None, head.pages)
        block.bitmap, block.pages = head.bitmap, head.pages
        window.pos = end

    def _stored(self, memory: StreamMemory, block: Block) -> None:
        """Rows for all pages of a block, by its bitmap."""
        assert block.bitmap is not None
        count = block.size // c_stream.PAGE
        window = self._window
        after, window.pos = window.pos, block.bitmap
        # In 64-bit words, little endian: so bit n is in byte n / 8.
        size = -(-count // 8)
        bitmap = window.take(size, "bitmap of a block of memory")
        window.pos = after
        bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[:count]
        starts: list[int] = np.flatnonzero(np.diff(bits, prepend=bits[:1] ^ 1)).tolist()
        for first, last in zip(starts, [*starts[1:], count], strict=True):
            content = bool(bits[first])
            offset = block.pages + first * c_stream.PAGE if content else 0
            self._add(memory, block.name, first, last - first, offset)

    # -- pages

    def _add(self, memory: StreamMemory, name: str, first: int, count: int, offset: int) -> None:
        """Rows for pages of a block; `offset` of the first one's record, 0 for zeros."""
        index, stride, page = memory.index, memory.index.stride, c_stream.PAGE
        where = memory.where(name)
        if not where:
            number = memory.device(name)
            if number is not None:
                kind = c_pgm.MMIO2_RAW if offset else c_pgm.MMIO2_ZERO
                index.add(offset, first, count, kind | number << 8)
            return
        kind = c_pgm.RAM_RAW if offset else c_pgm.RAM_ZERO
        for place in where:
            start = max(first, place.offset // page)
            end = min(first + count, (place.offset + place.size) // page)
            if start < end:
                at = offset + (start - first) * stride if offset else 0
                index.add(at, (place.gpa - place.offset) // page + start, end - start, kind)
        if len(index) - self._row >= _ROWS:
            self._tell_rows(memory)

    def _tell_rows(self, memory: StreamMemory) -> None:
        if self._row < len(memory.index):
            row, self._row = self._row, len(memory.index)
            self.pages(memory, row)
        if self.on_progress is not None:
            self.on_progress(min(self._window.pos, self.stream.size), self.stream.size)

    def _pages(self, memory: StreamMemory) -> None:
        """The pages of one section, up to and including its end mark."""
        window, what = self._window, "page"
        sizes = {block.name: block.size for block in self._blocks}
        while True:
            offset = window.pos
            word = window.number(HEAD, what)
            flags, address = word & c_stream.RAM_FLAGS, word & ~c_stream.RAM_FLAGS
            if flags == c_stream.RAM_END:
                return
            if not flags & c_stream.RAM_CONTINUE:
                self._name = window.text(what)
            name = self._name
            if name not in sizes:
                raise Damaged("block of a page", offset, None, name.encode()[:16])
            size = sizes[name]
            kind = flags & ~c_stream.RAM_CONTINUE
            if address + c_stream.PAGE > size:
                raise Damaged("address of a page", offset, size, address)
            most = (size - address) // c_stream.PAGE
            if kind == c_stream.RAM_ZERO:
                if window.number(1, what):
                    raise Unsupported("page filled with", "a byte", "zero", offset)
                more = self._same(word, _ZERO_STRIDE, most - 1)
                window.pos += more * _ZERO_STRIDE
                self._add(memory, name, address // c_stream.PAGE, 1 + more, 0)
            elif kind == c_stream.RAM_PAGE:
                start = window.pos - HEAD
                window.take(c_stream.PAGE, what)
                more = self._same(word, _STRIDE, most - 1)
                window.pos += more * _STRIDE
                self._add(memory, name, address // c_stream.PAGE, 1 + more, start)
            else:
                raise Unsupported("page of QEMU's stream", f"{kind:#x}", "plain ones", offset)

    def _same(self, word: int, stride: int, most: int) -> int:
        """How many records like the last one follow, each of the next page; at most `most`."""
        window = self._window
        most = min(most, window.fill(stride) // stride)
        if most <= 0:
            return 0
        heads = np.ndarray((most,), ">u8", window.data, window.pos - window.base, (stride,))
        steps = np.arange(1, most + 1, dtype=np.uint64) * np.uint64(c_stream.PAGE)
        same: Any = heads == np.uint64(word | c_stream.RAM_CONTINUE) + steps
        if stride == _ZERO_STRIDE:
            at = window.pos - window.base + HEAD
            same &= np.ndarray((most,), np.uint8, window.data, at, (stride,)) == 0
        return most if same.all() else int(same.argmin())

    # -- all the rest

    def _devices(self) -> None:
        window = self._window
        left = self.stream.size - window.pos
        if left > _MOST_DEVICES:
            raise LimitExceeded("what devices saved", _MOST_DEVICES, left, window.pos)
        unit = Unit("devices", 0, 0, c_ssm.PASS_FINAL, window.pos, window.pos)
        self.units.append(unit)
        everything = bytearray()
        while left > 0:
            data = window.take(min(left, _PIECE), "what devices saved")
            everything += data
            unit.stored += len(data)
            unit.content += len(data)
            self.unit_data(unit, data, unit.content - len(data))
            left -= len(data)
        self.unit_end(unit)
        if not is_whole(everything):
            raise Damaged("what devices saved: the file ends inside it", window.pos)
