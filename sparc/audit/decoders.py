"""Looks into compressed data as it streams by: gzip, zlib and PNG, inside each other too."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator

from sparc.audit.matcher import GZIP, PNG, PROBE, WINDOW_BITS, ZLIB, Matcher

__all__ = ["Budget", "Decoder", "Scanner", "decoder"]

_NAMES = {GZIP: "gzip", ZLIB: "zlib", PNG: "png"}
_PIECE = 1 << 18
# Keyword and language of a PNG's text chunk have at most 79 characters.
_MAX_LEAD = 8192


class Budget:
    """What looking into compressed data may cost for one file; `exceeded`: what was not enough.

    `size` bytes in all may go in and come out (bombs, and streams that start everywhere), `depth`
    streams may lie in each other, and `live` ones may be open in one stream of bytes at a time.
    """

    def __init__(self, size: int = 1 << 30, depth: int = 5, live: int = 32) -> None:
        self.size = size
        self.depth = depth
        self.live = live
        self.exceeded = ""

    def spend(self, size: int) -> bool:
        """Account for `size` bytes; False when there is no more to spend."""
        self.size -= size
        if self.size < 0:
            self.exceeded = "compressed data in bytes"
        return self.size >= 0


Report = Callable[[int, int, tuple[str, ...]], None]


class Scanner:
    """Searches one stream of bytes fed in pieces, across their seams.

    `report(offset, pattern, layers)` gets each hit: `offset` in the innermost decoded stream,
    `layers` such as ("gzip@0x40", "png/IDAT@0x0"), each with where it starts in the one around it.
    """

    def __init__(
        self, matcher: Matcher, report: Report, budget: Budget, layers: tuple[str, ...] = ()
    ) -> None:
        self.matcher = matcher
        self.report = report
        self.budget = budget
        self.layers = layers
        self._tail = b""
        self._offset = 0  # of the tail
        self._keep = max(matcher.longest, PROBE)
        self._live: list[Decoder] = []

    def feed(self, data: bytes) -> None:
        """Take the next piece; its last bytes wait for the one after it."""
        if self._live and not self.budget.spend(len(data) * len(self._live)):
            self._live = []
        self._live = [d for d in self._live if d.feed(data)]
        self._search(self._tail + data, self._keep)

    def close(self) -> None:
        """Search what still waits: nothing more comes."""
        if self._tail:
            self._search(self._tail, 0)
        for stream in self._live:
            stream.close()
        self._live = []

    def _search(self, block: bytes, keep: int) -> None:
        stop = max(len(block) - keep, 0)
        hits, candidates = self.matcher.scan(block, stop)
        for start, pattern in hits:
            self.report(self._offset + start, pattern, self.layers)
        for start, kind, _ in candidates:
            self._open(kind, self._offset + start, block[start:])
        self._offset += stop
        self._tail = block[stop:]

    def _open(self, kind: int, at: int, data: bytes) -> None:
        if self.budget.exceeded:
            return
        if len(self._live) >= self.budget.live:
            self.budget.exceeded = "compressed streams open at once"
            return
        if len(self.layers) >= self.budget.depth:
            self.budget.exceeded = "depth of compressed data"
            return
        if not self.budget.spend(len(data)):
            return
        stream = decoder(kind, at, self.matcher, self.report, self.budget, self.layers)
        if stream.feed(data):
            self._live.append(stream)


class Decoder:
    """A compressed stream; `feed` returns False once it has ended or turned out not to be one."""

    def feed(self, data: bytes) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        """The stream around it has ended."""
        raise NotImplementedError


class _Inflate(Decoder):
    def __init__(self, bits: int, child: Scanner) -> None:
        self.child = child
        self._bits = bits
        self._decoder = zlib.decompressobj(bits)

    def feed(self, data: bytes) -> bool:
        while data:
            before = self._decoder.copy()
            try:
                out = self._decoder.decompress(data, _PIECE)
            except zlib.error:
                out = _salvage(before, data)
                if self.child.budget.spend(len(out)):
                    self.child.feed(out)
                self.close()
                return False
            if out:
                if not self.child.budget.spend(len(out)):
                    self.close()
                    return False
                self.child.feed(out)
            if self._decoder.eof:
                return self._next_member()
            data = self._decoder.unconsumed_tail
            if not out and not data:
                break
        return True

    def close(self) -> None:
        self.child.close()

    def _next_member(self) -> bool:
        """A gzip file may be several of them, one after the other."""
        rest = self._decoder.unused_data
        if self._bits != WINDOW_BITS[GZIP] or not rest.startswith(b"\x1f\x8b\x08"):
            self.close()
            return False
        self._decoder = zlib.decompressobj(self._bits)
        return self.feed(rest)


def _salvage(stream: zlib._Decompress, data: bytes) -> bytes:
    """What `data` inflates to before the error in it, which costs zlib's caller all of it."""
    out, size = b"", len(data)
    while size > 1:
        size = (size + 1) // 2
        trial = stream.copy()
        try:
            piece = trial.decompress(data[:size], _PIECE)
        except zlib.error:
            continue
        out += piece
        if trial.unconsumed_tail:  # as much as one piece may be
            return out
        stream, data = trial, data[size:]
        size = min(size, len(data))
    return out


class _Png(Decoder):
    """Inflates what a PNG holds compressed: all IDAT chunks as one stream, iCCP, zTXt and iTXt."""

    def __init__(self, make: Callable[[str], Scanner]) -> None:
        self._make = make
        self._idat: Decoder | None = None
        self._inner: Decoder | None = None  # what the chunk at hand goes into
        self._steps = self._parse()
        self._want = next(self._steps)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bool:
        self._buffer += data
        while len(self._buffer) >= self._want:
            piece = bytes(self._buffer[: self._want])
            del self._buffer[: self._want]
            try:
                self._want = self._steps.send(piece)
            except StopIteration:
                self._buffer.clear()
                self.close()
                return False
        return True

    def close(self) -> None:
        # Of a chunk that was cut, what there is counts.
        self._into(bytes(self._buffer))
        self._buffer.clear()
        for stream in (self._idat, self._inner):
            if stream is not None:
                stream.close()
        self._idat = self._inner = None

    def _into(self, piece: bytes) -> None:
        if self._inner is not None and not self._inner.feed(piece):
            if self._inner is self._idat:
                self._idat = None
            self._inner = None

    def _parse(self) -> Generator[int, bytes, None]:
        """Asks for so many bytes, and is sent them."""
        yield 8
        pictures = 0
        while True:
            head = yield 8
            size, kind = int.from_bytes(head[:4]), head[4:]
            if not kind.isalpha() or size > 0x7FFFFFFF or kind == b"IEND":
                return
            if kind == b"IDAT":
                if not pictures:
                    self._idat = self._inflate(kind)
                pictures += 1
                self._inner = self._idat
            lead: bytes | None = b"" if kind in (b"zTXt", b"iTXt", b"iCCP") else None
            while size:
                piece = yield min(size, 4096)
                size -= len(piece)
                if lead is not None:
                    lead += piece
                    skip = _text_start(kind, lead)
                    if skip:
                        self._inner, piece = self._inflate(kind), lead[skip:]
                    if skip or len(lead) > _MAX_LEAD:
                        lead = None
                self._into(piece)
            if self._inner is not None and self._inner is not self._idat:
                self._inner.close()
            self._inner = None
            yield 4  # its checksum: a stream that ends wrong was still searched

    def _inflate(self, kind: bytes) -> Decoder:
        return _Inflate(WINDOW_BITS[ZLIB], self._make(kind.decode()))


def _text_start(kind: bytes, data: bytes) -> int:
    """Where the compressed text of a zTXt, iCCP or iTXt chunk starts; 0 if not in `data`."""
    end = data.find(b"\0")
    if end < 0:
        return 0
    if kind != b"iTXt":
        return end + 2
    if data[end + 1 : end + 2] != b"\1":
        return 0
    language = data.find(b"\0", end + 3)
    keyword = data.find(b"\0", language + 1) if language > 0 else -1
    return keyword + 1 if keyword > 0 else 0


def decoder(
    kind: int, at: int, matcher: Matcher, report: Report, budget: Budget, layers: tuple[str, ...]
) -> Decoder:
    """A decoder for the stream of `kind` that starts at offset `at` of the stream around it."""

    def make(part: str = "") -> Scanner:
        name = _NAMES[kind] + (f"/{part}" if part else "")
        return Scanner(matcher, report, budget, (*layers, f"{name}@{at:#x}"))

    if kind == PNG:
        return _Png(make)
    return _Inflate(WINDOW_BITS[kind], make())
