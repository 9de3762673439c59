"""Finds secrets that cross from one page into another, neighbours or not.

What is contiguous for a process stands in page frames that need not be. So the first and last
bytes of every page are kept, and a secret cut in two is put together again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sparc.audit.patterns import Pattern
from sparc.sav import c_pgm

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Ends", "Split", "find_splits"]

_KEY = 4
# Below this, parts of two pages that are no neighbours match by chance.
MIN_APART = 8
# So many pages that end (or start) with one part of a secret are looked at.
MAX_PAGES = 10_000


class Ends:
    """The first and last four bytes of every page seen, with where each stands.

    24 bytes a page. `key` is space number << 32 | page number; `offset` is a file offset.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []

    def add(
        self,
        heads: npt.NDArray[np.uint32],
        tails: npt.NDArray[np.uint32],
        keys: npt.NDArray[np.uint64],
        offsets: npt.NDArray[np.uint64],
    ) -> None:
        """Append pages, all arrays of the same length."""
        self._parts.append((heads, tails, keys, offsets))

    def add_run(
        self, buf: bytes | bytearray, start: int, count: int, stride: int, key: int, offset: int
    ) -> None:
        """Append pages whose content stands in `buf` from `start` on, `stride` bytes apart; the
        first has that key and file offset."""
        shape, strides = (count, _KEY), (stride, 1)
        heads, tails = (
            np.ndarray(shape, np.uint8, buf, at, strides).copy().view("<u4")[:, 0]
            for at in (start, start + c_pgm.PAGE - _KEY)
        )
        steps = np.arange(count, dtype=np.uint64)
        offsets = np.uint64(offset) + steps * np.uint64(stride)
        self.add(heads, tails, np.uint64(key) + steps, offsets)

    def joined(self) -> tuple[npt.NDArray[Any], ...]:
        """All of it: heads, tails, keys, offsets."""
        types = (np.uint32, np.uint32, np.uint64, np.uint64)
        return tuple(
            np.concatenate([np.empty(0, kind), *(part[i] for part in self._parts)])
            for i, kind in enumerate(types)
        )


@dataclass(frozen=True, slots=True)
class Split:
    """A pattern of which `cut` bytes end the page `tail` and the rest starts the page `head`.

    Both are rows of Ends.joined(). `neighbours`: the pages follow each other.
    """

    pattern: int
    cut: int
    tail: int
    head: int
    neighbours: bool


def _key(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _members(values: npt.NDArray[np.uint32], keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
    """Rows of `values` that are among `keys`."""
    wanted = np.unique(keys)
    if not len(wanted):
        return np.empty(0, np.intp)
    # A bit for each value of a 16-bit hash leaves few to look up.
    maybe = np.zeros(1 << 16, np.bool_)
    maybe[(wanted ^ wanted >> np.uint32(16)) & np.uint32(0xFFFF)] = True
    rows = np.flatnonzero(maybe[(values ^ values >> np.uint32(16)) & np.uint32(0xFFFF)])
    at = np.searchsorted(wanted, values[rows])
    at[at == len(wanted)] = 0
    found: npt.NDArray[np.intp] = rows[wanted[at] == values[rows]]
    return found


def find_splits(
    patterns: list[Pattern], ends: Ends, content: Callable[[int], bytes], limit: int
) -> tuple[list[Split], set[int]]:
    """All splits, at most `limit` of a pattern, and the patterns of which there may be more.

    `content(row)` gives the 4096 bytes of a page of `ends`.
    """
    heads, tails, keys, _ = ends.joined()
    if not len(heads):
        return [], set()
    finder = _Finder(patterns, heads, tails, keys, content, limit)
    finder.run()
    return finder.splits, finder.dropped


class _Finder:
    def __init__(
        self,
        patterns: list[Pattern],
        heads: npt.NDArray[Any],
        tails: npt.NDArray[Any],
        keys: npt.NDArray[Any],
        content: Callable[[int], bytes],
        limit: int,
    ) -> None:
        self.patterns = patterns
        self.heads, self.tails, self.keys = heads, tails, keys
        self.content = content
        self.limit = limit
        self.splits: list[Split] = []
        self.dropped: set[int] = set()
        self._counts: Counter[int] = Counter()

    def run(self) -> None:
        """Fill in `splits` and `dropped`."""
        # All patterns in a row; of each byte, the pattern and the place in it, and the four bytes
        # from it on as a number: what a page would have to start or end with.
        sizes = np.array([len(p.value) for p in self.patterns])
        blob = np.frombuffer(b"".join(p.value for p in self.patterns) + bytes(_KEY), np.uint8)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        left = sizes[owner] - place
        keys = np.zeros(len(owner), np.uint32)
        for i in range(_KEY):
            keys |= blob[i : i + len(owner)].astype(np.uint32) << np.uint32(8 * i)
        at_head, at_tail = (place >= 1) & (left >= _KEY), left > _KEY
        head_parts = self._verified(
            self.heads, keys[at_head], owner[at_head], place[at_head], head=True
        )
        tail_parts = self._verified(
            self.tails, keys[at_tail], owner[at_tail], place[at_tail] + _KEY, head=False
        )
        short = [
            (number, cut)
            for number in np.flatnonzero(sizes < 2 * _KEY - 1).tolist()
            for cut in range(max(1, int(sizes[number]) - _KEY + 1), min(int(sizes[number]), _KEY))
        ]
        for number, cut in sorted({*tail_parts, *head_parts, *short}):
            self._pair(number, cut, tail_parts.get((number, cut)), head_parts.get((number, cut)))

    def _verified(
        self,
        values: npt.NDArray[Any],
        keys: npt.NDArray[Any],
        owner: npt.NDArray[Any],
        cuts: npt.NDArray[Any],
        *,
        head: bool,
    ) -> dict[tuple[int, int], list[int]]:
        """Rows whose page really starts (or ends) with a part of a pattern, by (pattern, cut).

        One more than MAX_PAGES of them tell that there were too many.
        """
        found: dict[tuple[int, int], list[int]] = {}
        for row in _members(values, keys).tolist():
            data = b""
            for i in np.flatnonzero(keys == values[row]).tolist():
                number, cut = int(owner[i]), int(cuts[i])
                value = self.patterns[number].value
                part = value[cut:] if head else value[:cut]
                if len(part) > _KEY:
                    data = data or self.content(row)
                    if not (data.startswith(part) if head else data.endswith(part)):
                        continue
                rows = found.setdefault((number, cut), [])
                if len(rows) <= MAX_PAGES:
                    rows.append(row)
        return found

    def _short(self, number: int, cut: int, *, head: bool) -> npt.NDArray[Any]:
        """Rows whose page starts (or ends) with a part of at most three bytes."""
        value = self.patterns[number].value
        part = value[cut:] if head else value[:cut]
        bits = np.uint32(8 * len(part))
        if head:
            mask = np.uint32((1 << int(bits)) - 1)
            return np.flatnonzero((self.heads & mask) == np.uint32(_key(part)))
        return np.flatnonzero(self.tails >> (np.uint32(32) - bits) == np.uint32(_key(part)))

    @cached_property
    def _ordered(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        order = np.argsort(self.keys, kind="stable")
        return order, self.keys[order]

    def _at(self, key: int) -> list[int]:
        """All rows of the page with that key."""
        if key < 0:
            return []
        order, ordered = self._ordered
        low, high = np.searchsorted(ordered, np.array([key, key + 1], np.uint64)).tolist()
        rows: list[int] = order[low:high].tolist()
        return rows

    def _pair(
        self, number: int, cut: int, tails: list[int] | None, heads: list[int] | None
    ) -> None:
        size = len(self.patterns[number].value)
        long_tail, long_head = cut >= _KEY, size - cut >= _KEY
        if (long_tail and not tails) or (long_head and not heads):
            return
        tail_rows = set(
            tails if long_tail and tails else self._short(number, cut, head=False).tolist()
        )
        head_rows = set(
            heads if long_head and heads else self._short(number, cut, head=True).tolist()
        )
        if not tail_rows or not head_rows:
            return
        if (long_tail and len(tail_rows) > MAX_PAGES) or (long_head and len(head_rows) > MAX_PAGES):
            self.dropped.add(number)
        alone = {"tails": set(tail_rows), "heads": set(head_rows)}
        # The shorter list drives: the other may be every page that ends with one letter.
        if len(tail_rows) <= len(head_rows):
            pairs = [
                (t, h)
                for t in sorted(tail_rows)
                for h in self._at(int(self.keys[t]) + 1)
                if h in head_rows
            ]
        else:
            pairs = [
                (t, h)
                for h in sorted(head_rows)
                for t in self._at(int(self.keys[h]) - 1)
                if t in tail_rows
            ]
        for tail, head in pairs:
            alone["tails"].discard(tail)
            alone["heads"].discard(head)
            self._add(Split(number, cut, tail, head, True))
        if size < MIN_APART:
            return
        # Of the rest, each part counts once: which tail belongs to which head nobody can tell.
        ram_tails = sorted(r for r in alone["tails"] if not int(self.keys[r]) >> 32)
        ram_heads = sorted(r for r in alone["heads"] if not int(self.keys[r]) >> 32)
        if not ram_tails or not ram_heads:
            return
        for i in range(len(ram_tails) if long_tail else len(ram_heads)):
            if number in self.dropped and self._counts[number] >= self.limit:
                break
            tail, head = ram_tails[i % len(ram_tails)], ram_heads[i % len(ram_heads)]
            if self.keys[tail] != self.keys[head]:
                self._add(Split(number, cut, tail, head, False))

    def _add(self, split: Split) -> None:
        if self._counts[split.pattern] >= self.limit:
            self.dropped.add(split.pattern)
            return
        self._counts[split.pattern] += 1
        self.splits.append(split)
