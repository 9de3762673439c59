"""Searches a buffer for all patterns at once, and for the marks of compressed data."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from copy import copy
from typing import cast

import hyperscan

from sparc.audit.patterns import Pattern

__all__ = ["GZIP", "PNG", "WINDOW_BITS", "ZLIB", "Matcher"]

GZIP, PNG, ZLIB = 1, 2, 3
# How a zlib stream starts: two bytes, and one with the type of the first block. That block is
# stored (0 or 1), or has fixed codes, or codes of its own, whose number is in the same byte and at
# most 29. As 500 literals, these cost half of what one expression with classes of bytes does.
_FIRST = [b for b in range(256) if b in (0, 1) or b & 6 == 2 or (b & 6 == 4 and b >> 3 <= 29)]
_SIGNATURES = (
    (GZIP, b"\x1f\x8b\x08"),
    (PNG, b"\x89PNG\r\n\x1a\n"),
    *(
        (ZLIB, bytes([0x78, level, first]))
        for level in (0x01, 0x5E, 0x9C, 0xDA)
        for first in _FIRST
    ),
)
WINDOW_BITS = {GZIP: 31, ZLIB: 15}
# How far a stream is tried before it counts as one: random bytes rarely inflate to this much.
PROBE = 64
_PROBE_OUT = 1024
# What may stand behind a page in the file, and look like an error in a stream that goes on.
_RECORD = re.compile(
    rb"\x91\x0e|\x92(?:[\x01-\x7f]|[\xc2-\xdf].|\xe0..)[\x00-\x08\x80-\x88\xff]", re.S
)


def database(literals: tuple[tuple[int, bytes], ...]) -> hyperscan.Database:
    """Compile (number, literal) pairs."""
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    made.compile(
        expressions=[_escaped(literal) for _, literal in literals],
        ids=[number for number, _ in literals],
        elements=len(literals),
        flags=[0] * len(literals),
    )
    return made


_ESCAPES = [b"\\x%02x" % byte for byte in range(256)]


def _escaped(literal: bytes) -> bytes:
    return b"".join([_ESCAPES[byte] for byte in literal])


class Matcher:
    """Finds patterns in buffers, one thread at a time.

    A pattern found more than MAX_HITS times is given up on: a buffer full of it would take hours
    to list. Of many patterns, fewer hits each are kept: an equal share of MAX_KEPT. `saturated` are
    the numbers of the patterns that were found more often than was kept. Marks of compressed data
    are given up on too, after MAX_MARKS of them or MAX_CANDIDATES that look like streams
    (`gave_up`). In random data, a megabyte holds some 30 marks and one candidate.
    """

    MAX_HITS = 10_000
    MAX_KEPT = 1 << 19
    MAX_MARKS = 1 << 22
    MAX_CANDIDATES = 1 << 17

    def __init__(self, patterns: list[Pattern]) -> None:
        self.patterns = patterns
        self.longest = max(len(p.value) for p in patterns)
        self.saturated: set[int] = set()
        self.gave_up = False
        self._keep = max(1, min(self.MAX_HITS, self.MAX_KEPT // len(patterns)))
        self._left_out: set[int] = set()  # numbers no longer searched for
        self._marks = self._candidates = 0
        self._hits: Counter[int] = Counter()  # all of them, kept or not
        self._lengths = [len(p.value) for p in patterns] + [len(mark) for _, mark in _SIGNATURES]
        self._compile()

    def again(self) -> Matcher:
        """Another with the same patterns that has found nothing yet, for the same thread."""
        other = copy(self)
        other.saturated, other._left_out, other._hits = set(), set(), Counter()
        other.gave_up = False
        other._marks = other._candidates = 0
        if self._left_out or self.gave_up:
            other._compile()
        return other

    def _compile(self) -> None:
        marks = [] if self.gave_up else [mark for _, mark in _SIGNATURES]
        chosen = [
            (number, literal)
            for number, literal in enumerate([p.value for p in self.patterns] + marks)
            if number not in self._left_out
        ]
        self._database = database(tuple(chosen)) if chosen else None

    def scan(
        self, data: bytes | bytearray | memoryview, stop: int | None = None, page: int = 0
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int, bool]]]:
        """Search `data` for what starts before `stop`.

        Returns hits (offset, pattern number) and candidates (offset, GZIP | PNG | ZLIB, whether
        the stream was tried successfully, or was cut too short to tell), both in no order. Where
        `data` is made of pages of so many bytes, a stream is tried to the end of its page.
        """
        view = memoryview(data)
        limit = len(view) if stop is None else stop
        kept: list[tuple[int, int]] = []
        while True:
            found: list[tuple[int, int]] = []
            if self._scan(view, limit, found):
                hits = kept + found
                break
            kept += [hit for hit in found if hit[1] in self._left_out]
            self._compile()
        count, candidates = len(self.patterns), []
        result = []
        for start, number in hits:
            if number < count:
                result.append((start, number))
                continue
            self._marks += 1
            if self.gave_up or self._marks > self.MAX_MARKS:
                self.gave_up = True
                continue
            kind = _SIGNATURES[number - count][0]
            end = start + min(PROBE, page - start % page if page else PROBE)
            sure = kind == PNG or _plausible(kind, view[start:end])
            if sure or _RECORD.search(view[start:end]):
                candidates.append((start, kind, sure))
        self._candidates += len(candidates)
        if self._candidates > self.MAX_CANDIDATES:
            self.gave_up = True
        if self.gave_up and len(hits) > len(result):
            self._compile()
        return result, candidates

    def _scan(self, view: memoryview, limit: int, found: list[tuple[int, int]]) -> bool:
        """Append (start, number) of what is kept; False if a pattern has become too many."""
        count, fresh, before, most = len(self.patterns), Counter[int](), self._hits, self.MAX_HITS
        append, lengths, keep = found.append, self._lengths, self._keep

        def matched(
            number: int, _from: int, end: int, _flags: int, _context: object
        ) -> bool | None:
            start = end - lengths[number]
            if start >= limit:
                return None
            if number < count:
                fresh[number] += 1
                hits = before[number] + fresh[number]
                if hits > keep:
                    self.saturated.add(number)
                    if hits <= most:
                        return None
                    self._left_out.add(number)
                    return True
            append((start, number))
            return None

        if self._database is None:
            return True
        try:
            # The stubs know bytes only; any buffer will do.
            self._database.scan(cast(bytes, view), match_event_handler=matched)
        except hyperscan.ScanTerminated:
            return False
        before.update(fresh)
        return True


def _plausible(kind: int, data: memoryview) -> bool:
    """Whether these bytes could begin a stream: they inflate without an error as far as they go."""
    try:
        zlib.decompressobj(WINDOW_BITS[kind]).decompress(data, _PROBE_OUT)
    except zlib.error:
        return False
    return True
