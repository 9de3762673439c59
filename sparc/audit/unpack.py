"""Decompresses and searches pages that a saved state stores compressed, some at a time."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import lzf
import numpy as np

from sparc.audit.matcher import Matcher
from sparc.sav import c_pgm
from sparc.sav.record import record_size

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BATCH", "Unpacked", "unpack", "unpack_stored"]

PAGE = c_pgm.PAGE
# So many decompressed pages are searched at once: 2 MiB.
BATCH = 512
_SPAN = 4 << 20
# More than the longest record of a page.
_RECORD = PAGE + 16


@dataclass(slots=True)
class Unpacked:
    """What was found in pages: the first and last four bytes of each, and the rest by row.

    `hits` are (row, offset in the page, pattern), `candidates` (row, offset in the page, kind),
    `damaged` (row, bytes that it decompresses to), each in order. `saturated` and `gave_up`, as in
    Matcher, are filled in by who searches parts of a file with a matcher of their own.
    """

    heads: npt.NDArray[Any]
    tails: npt.NDArray[Any]
    hits: list[tuple[int, int, int]] = field(default_factory=list)
    candidates: list[tuple[int, int, int]] = field(default_factory=list)
    damaged: list[tuple[int, int]] = field(default_factory=list)
    saturated: set[int] = field(default_factory=set)
    gave_up: bool = False

    @classmethod
    def joined(cls, parts: Iterable[Unpacked]) -> Unpacked:
        """Several, one after the other."""
        several = list(parts)
        empty = np.empty(0, np.uint32)
        whole = cls(
            np.concatenate([empty, *(part.heads for part in several)]),
            np.concatenate([empty, *(part.tails for part in several)]),
        )
        first = 0
        for part in several:
            whole.hits += [(first + row, inside, number) for row, inside, number in part.hits]
            whole.candidates += [
                (first + row, inside, kind) for row, inside, kind in part.candidates
            ]
            whole.damaged += [(first + row, size) for row, size in part.damaged]
            whole.saturated |= part.saturated
            whole.gave_up |= part.gave_up
            first += len(part.heads)
        return whole

    def rows(self, first: int, last: int) -> Unpacked:
        """Those before `last`, numbered from 0 on; fewer where there are no more."""
        hits = self.hits[bisect_left(self.hits, (first,)) : bisect_left(self.hits, (last,))]
        candidates = self.candidates[
            bisect_left(self.candidates, (first,)) : bisect_left(self.candidates, (last,))
        ]
        damaged = self.damaged[
            bisect_left(self.damaged, (first,)) : bisect_left(self.damaged, (last,))
        ]
        return Unpacked(
            self.heads[first:last],
            self.tails[first:last],
            [(row - first, inside, number) for row, inside, number in hits],
            [(row - first, inside, kind) for row, inside, kind in candidates],
            [(row - first, size) for row, size in damaged],
        )


def unpack(
    buf: bytearray, view: memoryview, at: npt.NDArray[np.int64], matcher: Matcher
) -> Unpacked:
    """Decompress and search pages; `at` are their records' places in the buffer, `view` is it."""
    whole = np.frombuffer(buf, np.uint8)
    digits = [whole[at + i].astype(np.int64) for i in (1, 2, 3)]
    sizes = (digits[0] & 0x0F) << 12 | (digits[1] & 0x3F) << 6 | digits[2] & 0x3F
    starts = at + 5
    for i in np.flatnonzero(digits[0] & 0xF0 != 0xE0).tolist():
        # Lengths as VirtualBox does not write them, but may read them.
        sizes[i], count = record_size(buf, int(at[i]) + 1)
        starts[i] = at[i] + 2 + count
    ends = starts + sizes - 1
    out: list[bytes] = []
    damaged = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        try:
            data = lzf.decompress(bytes(view[start:end]), PAGE)
        except ValueError:
            data = None
        if data is None or len(data) != PAGE:
            damaged.append((len(out), len(data or b"")))
            data = bytes(PAGE)
        out.append(data)
    content = b"".join(out)
    words = np.frombuffer(content, "<u4").reshape(len(out), PAGE // 4)
    found = Unpacked(words[:, 0].copy(), words[:, -1].copy(), damaged=damaged)
    hits, candidates = matcher.scan(content, page=PAGE)
    for start, number in hits:
        row, inside = divmod(start, PAGE)
        if inside + len(matcher.patterns[number].value) <= PAGE:
            found.hits.append((row, inside, number))
    found.hits.sort()
    found.candidates = sorted((*divmod(start, PAGE), kind) for start, kind, _ in candidates)
    return found


def unpack_stored(fd: int, offsets: npt.NDArray[np.uint64], matcher: Matcher) -> Unpacked:
    """The same for pages whose records stand at these file offsets, ascending.

    Raises OSError.
    """
    parts = []
    at = offsets.astype(np.int64)
    first = 0
    while first < len(at):
        begin = int(at[first])
        last = min(int(np.searchsorted(at, begin + _SPAN)), first + BATCH)
        size = int(at[last - 1]) - begin + _RECORD
        data = os.pread(fd, size, begin)
        # Where the file ends, what is not there is no page either.
        buf = bytearray(data.ljust(size, b"\0"))
        parts.append(unpack(buf, memoryview(buf), at[first:last] - begin, matcher))
        first = last
    found = Unpacked.joined(parts)
    found.saturated = set(matcher.saturated)
    found.gave_up = matcher.gave_up
    return found
