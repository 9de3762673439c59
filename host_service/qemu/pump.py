"""Takes the stream that QEMU saves a VM with, blanks what may not be in it, and writes the rest.

Guest RAM passes as it is: it was zeroed before. What devices hold is blanked here, so that none of
it ever comes to a disk: video memory page by page, values of devices by what the stream itself says
of them at its end.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from host_service.qemu.devices import blank_devices
from sparc.qemu import c_stream
from sparc.qemu.devices import is_whole

__all__ = ["Broken", "Passed", "Screen", "pass_on"]

_PAGE = c_stream.PAGE
_PIECE = 1 << 20
_WAIT_MS = 200
_TELL = 16 << 20
_ZERO_RECORD = np.dtype([("word", ">u8"), ("fill", "u1")])
_PAGE_RECORD = np.dtype([("word", ">u8"), ("data", f"V{_PAGE}")])
# All that is not memory; more than any machine has.
_MOST = 256 << 20

Screen = Callable[[int, bytes], bytes]
"""Given where in video memory a page is, and its content: what may stand there."""


class Broken(Exception):
    """The stream ended too early, or is not as it is known: the argument says what."""


@dataclass
class Passed:
    """What passed: `pages` with content, `screen` bytes of video memory that were blanked, and how
    many `values` of devices were. `devices`: their kinds. `fault`: what of them could not be.
    """

    pages: int = 0
    screen: int = 0
    values: int = 0
    fault: str = ""
    devices: list[str] = field(default_factory=list)
    blocks: dict[str, int] = field(default_factory=dict)


class _Source:
    """Reads exactly so much from a pipe. Where nothing comes, `over` says whether nothing will:
    newer versions of QEMU may keep it open for long when all was written, until they are spoken to.
    """

    def __init__(self, fd: int, over: Callable[[], bool]) -> None:
        self._fd = fd
        self._over = over
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._buffer = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes. Raises Broken at the end."""
        if self._at + count > len(self._buffer):
            parts = [self._buffer[self._at :]]
            have = len(parts[0])
            while have < count:
                more = self._read()
                if not more:
                    raise Broken("it ended too early")
                parts.append(more)
                have += len(more)
            self._buffer, self._at = b"".join(parts), 0
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _read(self) -> bytes:
        """What comes next, or nothing at the end."""
        over = False
        while not self._poll.poll(_WAIT_MS):
            # What was written before it was over is there then.
            if over:
                return b""
            over = self._over()
        return os.read(self._fd, _PIECE)

    def ahead(self) -> memoryview:
        """What is there already, without waiting for more."""
        return memoryview(self._buffer)[self._at :]

    def rest(self) -> bytes:
        """All up to the end. Raises Broken where that is too much."""
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while more := self._read():
            parts.append(more)
            have += len(more)
            if have > _MOST:
                raise Broken("devices of more than 256 MB")
        self._buffer, self._at = b"", 0
        return b"".join(parts)


def pass_on(
    fd: int,
    sink: BinaryIO,
    screen: Screen | None,
    gone: Mapping[str, bytes] | None,
    tell: Callable[[int], None] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Passed:
    """Copy the stream from a pipe to its end; `screen` blanks video memory, None leaves it.

    `gone` has for each block a byte for each page, which is not 0 where none may have content;
    None if nothing is to be kept out, of devices either.
    `tell(bytes)` is called now and then with how much of the memory has passed. `over()` says, when
    nothing comes, whether QEMU has written all.

    Raises:
        Broken: it is no such stream, or a page has content that may have none.
        OSError: of the sink.
    """
    source = _Source(fd, over)
    return _Pump(source, sink, screen, gone or {}, tell, blank=gone is not None).run()


class _Pump:
    def __init__(
        self,
        source: _Source,
        sink: BinaryIO,
        screen: Screen | None,
        gone: Mapping[str, bytes],
        tell: Callable[[int], None] | None,
        *,
        blank: bool,
    ) -> None:
        self.source = source
        self.sink = sink
        self.screen = screen
        self.gone = gone
        self.blank = blank
        self.tell = tell
        self.passed = Passed()
        self._block = b""
        self._done = 0
        self._told = 0

    def run(self) -> Passed:
        header = self._copy(8)
        if header[:4] != c_stream.MAGIC or int.from_bytes(header[4:], "big") != c_stream.VERSION:
            raise Broken("how it begins")
        # What stands before the first section, the configuration, ends where that begins: RAM is
        # the first section, and QEMU names it.
        self._copy_until_ram()
        while self._section():
            pass
        rest = self.source.rest()
        if not is_whole(rest):
            raise Broken("it ended too early")
        if self.blank:
            done = blank_devices(rest)
            rest, self.passed.fault = done.data, done.fault
            self.passed.values, self.passed.devices = done.values, done.kinds
        self.sink.write(rest)
        return self.passed

    def _copy(self, count: int) -> bytes:
        data = self.source.take(count)
        self.sink.write(data)
        return data

    def _copy_until_ram(self) -> None:
        """The configuration has no length of its own; it is short, and has the names of things."""
        kind = self._copy(1)[0]
        if kind == c_stream.CONFIGURATION:
            size = int.from_bytes(self._copy(4), "big")
            self._copy(min(size, 256))
            kind = self._copy(1)[0]
            while kind == c_stream.SUBSECTION:
                kind = self._configured(self._text())
        while kind == c_stream.COMMAND:
            self._command()
            kind = self._copy(1)[0]
        self._begin(kind)

    def _command(self) -> None:
        self._copy(2)
        self._copy(int.from_bytes(self._copy(2), "big"))

    def _text(self) -> bytes:
        return self._copy(self._copy(1)[0])

    def _configured(self, name: bytes) -> int:
        """Pass over a part of the configuration; what comes after it."""
        self._copy(4)
        if name == b"configuration/capabilities":
            for _ in range(int.from_bytes(self._copy(4), "big")):
                self._text()
        elif name == b"configuration/target-page-bits":
            self._copy(4)
        elif name == b"configuration/uuid":
            self._copy(16)
        else:
            raise Broken("its configuration")
        return self._copy(1)[0]

    def _begin(self, kind: int) -> None:
        """The section of RAM: which blocks there are."""
        self._number = self._copy(4) if kind == c_stream.SECTION_START else b""
        if kind != c_stream.SECTION_START or self._text() != b"ram":
            raise Broken("its first section")
        self._copy(4)
        if int.from_bytes(self._copy(4), "big") != c_stream.RAM_VERSION:
            raise Broken("the version of its memory")
        total = int.from_bytes(self._copy(8), "big")
        if total & c_stream.RAM_FLAGS != c_stream.RAM_SIZES:
            raise Broken("the sizes of its memory")
        left = total & ~c_stream.RAM_FLAGS
        while left > 0:
            name = self._text().decode("utf-8", "replace")
            size = int.from_bytes(self._copy(8), "big")
            self.passed.blocks[name] = size
            left -= size
        if left or int.from_bytes(self._copy(8), "big") != c_stream.RAM_END:
            raise Broken("the list of its memory")
        self._footer()

    def _footer(self) -> None:
        if self._copy(1)[0] != c_stream.SECTION_FOOTER or self._copy(4) != self._number:
            raise Broken("the end of a section")

    def _section(self) -> bool:
        """Pass over one more section of RAM; False where that was the last one."""
        kind = self._copy(1)[0]
        if kind == c_stream.COMMAND:
            self._command()
            return True
        if kind not in (c_stream.SECTION_PART, c_stream.SECTION_END):
            raise Broken(f"a section of kind {kind}")
        if self._copy(4) != self._number:
            raise Broken("a section of something else than memory")
        self._pages()
        self._footer()
        return kind != c_stream.SECTION_END

    def _pages(self) -> None:
        take, write = self.source.take, self.sink.write
        while True:
            head = take(8)
            word = int.from_bytes(head, "big")
            flags = word & c_stream.RAM_FLAGS
            if flags == c_stream.RAM_END:
                write(head)
                return
            name = b""
            if not flags & c_stream.RAM_CONTINUE:
                size = take(1)
                self._block = take(size[0])
                name = size + self._block
            kind = flags & ~c_stream.RAM_CONTINUE
            if kind == c_stream.RAM_ZERO:
                write(head + name + take(1))
                more = self._alike(word, _ZERO_RECORD)
                write(take(more * _ZERO_RECORD.itemsize))
                self._done += more * _PAGE
            elif kind == c_stream.RAM_PAGE:
                self._page(word, name, take(_PAGE))
            else:
                raise Broken(f"memory of kind {kind:#x}")
            self._done += _PAGE
            if self.tell is not None and self._done - self._told >= _TELL:
                self._told = self._done
                self.tell(self._done)

    def _alike(self, word: int, record: np.dtype[np.void]) -> int:
        """How many records of that form are there already, each of the next page."""
        ahead = self.source.ahead()
        most = len(ahead) // record.itemsize
        if not most:
            return 0
        records = np.frombuffer(ahead, record, most)
        steps = np.arange(1, most + 1, dtype=np.uint64) * np.uint64(_PAGE)
        same = records["word"] == np.uint64(word | c_stream.RAM_CONTINUE) + steps
        if record is _ZERO_RECORD:
            same &= records["fill"] == 0
        return most if same.all() else int(same.argmin())

    def _page(self, word: int, name: bytes, data: bytes) -> None:
        offset = word & ~c_stream.RAM_FLAGS
        block = self._block.decode("utf-8", "replace")
        if self.screen is not None and block.endswith("vram"):
            blanked = self.screen(offset, data)
            self.passed.screen += _PAGE if blanked != data else 0
            data = blanked
            if not data.strip(b"\0"):
                word ^= c_stream.RAM_PAGE | c_stream.RAM_ZERO
                data = b"\0"
            self.passed.pages += 1
            self.sink.write(word.to_bytes(8, "big") + name + data)
            return
        more = self._alike(word, _PAGE_RECORD)
        first = offset // _PAGE
        table = self.gone.get(block.rpartition("/")[2], b"")[first : first + 1 + more]
        if table.count(0) != len(table):
            raise Broken("a page has content that was taken out")
        self.passed.pages += 1 + more
        self._done += more * _PAGE
        rest = self.source.take(more * _PAGE_RECORD.itemsize)
        self.sink.write(b"".join((word.to_bytes(8, "big"), name, data, rest)))
