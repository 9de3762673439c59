"""Searches a buffer for all patterns at once, and for the marks of compressed data."""

from __future__ import annotations

import re
import zlib
from collections import Counter

import hyperscan

from sparc.audit.patterns import Pattern

__all__ = ["GZIP", "PNG", "ZLIB", "Matcher"]

GZIP, PNG, ZLIB = -1, -2, -3
_SIGNATURES = (
    (GZIP, b"\x1f\x8b\x08"),
    (PNG, b"\x89PNG\r\n\x1a\n"),
    (ZLIB, b"\x78\x01"),
    (ZLIB, b"\x78\x5e"),
    (ZLIB, b"\x78\x9c"),
    (ZLIB, b"\x78\xda"),
)
WINDOW_BITS = {GZIP: 31, ZLIB: 15}
# How far a stream is tried before it counts as one: random bytes rarely inflate to this much.
_PROBE = 64
_RECORD = re.compile(rb"\x91\x0e|\x92[\x00-\x7f\xc0-\xef]")


class Matcher:
    """Finds patterns in buffers, one thread at a time.

    A pattern found more than MAX_HITS times is given up on (`saturated`, by pattern number): a
    buffer full of it would take hours to list.
    """

    MAX_HITS = 10_000

    def __init__(self, patterns: list[Pattern]) -> None:
        self.patterns = patterns
        self.longest = max(len(p.value) for p in patterns)
        self.saturated: set[int] = set()
        self._hits: Counter[int] = Counter()
        self._lengths = [len(p.value) for p in patterns] + [len(s) for _, s in _SIGNATURES]
        self._compile()

    def _compile(self) -> None:
        chosen = [
            (number, value)
            for number, value in enumerate(
                [p.value for p in self.patterns] + [s for _, s in _SIGNATURES]
            )
            if number not in self.saturated
        ]
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=[b"".join(b"\\x%02x" % byte for byte in value) for _, value in chosen],
            ids=[number for number, _ in chosen],
            elements=len(chosen),
            flags=[0] * len(chosen),
        )

    def scan(
        self, data: bytes | bytearray | memoryview, skip: int = 0
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int, bool]]]:
        """Search `data`; what ends within its first `skip` bytes was found before.

        Returns hits (offset, pattern number) and candidates (offset, GZIP | PNG | ZLIB, whether
        the stream was tried successfully or was cut too short to tell).
        """
        kept: list[tuple[int, int]] = []
        while True:
            found: list[tuple[int, int]] = []
            count = len(self.patterns)
            view = memoryview(data)
            candidates: list[tuple[int, int, bool]] = []
            fresh: Counter[int] = Counter()

            def matched(
                number: int,
                _from: int,
                end: int,
                _flags: int,
                _context: object,
                found: list[tuple[int, int]] = found,
                candidates: list[tuple[int, int, bool]] = candidates,
                fresh: Counter[int] = fresh,
                view: memoryview = view,
            ) -> bool | None:
                if end <= skip:
                    return None
                start = end - self._lengths[number]
                if number < count:
                    found.append((start, number))
                    fresh[number] += 1
                    if self._hits[number] + fresh[number] > self.MAX_HITS:
                        self.saturated.add(number)
                        return True
                    return None
                kind = _SIGNATURES[number - count][0]
                sure = kind == PNG or _plausible(kind, view[start : start + _PROBE])
                if sure or _RECORD.search(view[start : start + _PROBE]):
                    candidates.append((start, kind, sure))
                return None

            try:
                self._database.scan(view, match_event_handler=matched)
            except hyperscan.ScanTerminated:
                kept += [hit for hit in found if hit[1] in self.saturated]
                self._compile()
                continue
            self._hits.update(fresh)
            return kept + found, candidates


def _plausible(kind: int, data: memoryview) -> bool:
    """Whether these bytes could begin a stream: they inflate without an error as far as they go."""
    if kind == ZLIB and len(data) > 2 and data[2] & 6 == 6:
        return False  # no deflate block has this type
    try:
        zlib.decompressobj(WINDOW_BITS[kind]).decompress(data, _PROBE)
    except zlib.error:
        return False
    return True
