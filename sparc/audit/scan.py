"""Audits one saved state for a list of secrets."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sparc.audit.collect import Collector
from sparc.audit.decoders import Budget, Scanner
from sparc.audit.matcher import Matcher
from sparc.audit.patterns import Pattern
from sparc.audit.raw import RawFound, RawSearch
from sparc.audit.report import Report
from sparc.audit.resolve import Resolver, Spot
from sparc.audit.split import Ends
from sparc.audit.unpack import BATCH, Unpacked, unpack
from sparc.errors import Damaged, LimitExceeded, NotReadable
from sparc.qemu.state import StreamState
from sparc.qemu.walk import StreamWalk, is_stream
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RUN_STRIDE
from sparc.sav.memory import Memory
from sparc.sav.record import record_size
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "AuditWalk",
    "RejoinedWalk",
    "StreamAuditWalk",
    "finish",
    "search",
    "stored_alone",
    "walk_of",
]

PAGE = c_pgm.PAGE
_PIECE = 1 << 20
# Of video memory, what a text screen can be in: 256 KB.
_TEXT_PAGES = 64

Progress = Callable[[int, int], None]


class Searching:
    """What a walk finds: it searches unit contents on the way, and collects the ends of pages."""

    def __init__(self, matcher: Matcher, budget: Budget) -> None:
        self.matcher = matcher
        self.budget = budget
        self.ends = Ends()
        # (spot, pattern, layers, inner offset); as many as the matcher keeps.
        self.hits: list[tuple[Spot, int, tuple[str, ...], int]] = []
        self.candidates: list[tuple[Spot, int]] = []
        self._unit: Unit | None = None
        self._scanner: Scanner | None = None
        self._piece: list[bytes] = []
        self._size = 0

    # -- units

    def unit_data(self, unit: Unit, data: bytes, offset: int) -> None:
        if self._scanner is None:
            self._unit = unit
            self._scanner = Scanner(self.matcher, self._unit_hit, self.budget)
        self._piece.append(data)
        self._size += len(data)
        if self._size >= _PIECE:
            self._flush()

    def unit_end(self, unit: Unit) -> None:
        self.finish()

    def _flush(self) -> None:
        if self._scanner is not None and self._piece:
            self._scanner.feed(b"".join(self._piece))
        self._piece, self._size = [], 0

    def finish(self) -> None:
        """Search what is left of the current unit."""
        self._flush()
        if self._scanner is not None:
            self._scanner.close()
        self._scanner = None

    def _unit_hit(self, offset: int, pattern: int, layers: tuple[str, ...]) -> None:
        unit = self._unit
        assert unit is not None
        where = int(layers[0].rpartition("@")[2], 16) if layers else offset
        spot = Spot("unit", unit.name, where, unit.data_offset)
        self.hits.append((spot, pattern, layers, offset if layers else 0))


class AuditWalk(Searching, Walk):
    """Searches compressed pages of VirtualBox's files on the way, too."""

    def __init__(
        self, stream: Stream, matcher: Matcher, budget: Budget, progress: Progress | None
    ) -> None:
        Walk.__init__(self, stream)
        Searching.__init__(self, matcher, budget)
        self.on_progress = progress

    def state(self) -> SavedState:
        """The file as this walk has understood it."""
        return SavedState.of(self)

    def pages(self, memory: Memory, first_row: int) -> None:
        offset, page, count, kind, range_id = memory.index.rows(first_row)
        stored = offset != 0
        if not stored.any():
            return
        offset, page, count = offset[stored], page[stored], count[stored]
        keys = page_keys(page, kind[stored], range_id[stored])
        base = np.uint64(self.stream.base)
        at = (offset - base).astype(np.int64)
        for row in np.flatnonzero(count > 1).tolist():
            self._run_ends(int(at[row]), int(count[row]), int(keys[row]), int(offset[row]))
        plain, packed = stored_alone(self.stream, offset, count)
        for row in plain.tolist():
            start = int(at[row])
            _, size = record_size(self.stream.buf, start + 1)
            at_data = start + 1 + size
            self.ends.add_run(self.stream.buf, at_data, 1, 0, int(keys[row]), int(offset[row]))
        for begin in range(0, len(packed), BATCH):
            rows = packed[begin : begin + BATCH]
            self._add(self.unpacked(at[rows]), keys[rows], offset[rows])

    def unpacked(self, at: npt.NDArray[np.int64]) -> Unpacked:
        """What is in compressed pages; `at` are their records' places in the stream's buffer."""
        return unpack(self.stream.buf, self.stream.view, at, self.matcher)

    def _run_ends(self, at: int, count: int, key: int, offset: int) -> None:
        self.ends.add_run(self.stream.buf, at + 4, count, RUN_STRIDE, key, offset)

    def _add(self, found: Unpacked, keys: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> None:
        """Take in what is in a batch of compressed pages."""
        for row, size in found.damaged:
            self.bad(Damaged("compressed page", int(offsets[row]), PAGE, size))
        self.ends.add(found.heads, found.tails, keys, offsets)
        for row, inside, number in found.hits:
            spot = Resolver.spot(int(keys[row]), inside, int(offsets[row]))
            self.hits.append((spot, number, (), 0))
        for row, inside, kind in found.candidates:
            spot = Resolver.spot(int(keys[row]), inside, int(offsets[row]))
            self.candidates.append((spot, kind))


class StreamAuditWalk(Searching, StreamWalk):
    """Of QEMU's files, in which all pages stand as they are."""

    def __init__(
        self, stream: Stream, matcher: Matcher, budget: Budget, progress: Progress | None
    ) -> None:
        StreamWalk.__init__(self, stream)
        Searching.__init__(self, matcher, budget)
        self.on_progress = progress

    def state(self) -> StreamState:
        """The file as this walk has understood it."""
        return StreamState.of(self)

    def pages(self, memory: Memory, first_row: int) -> None:
        offset, page, count, kind, range_id = memory.index.rows(first_row)
        stored = np.flatnonzero(offset != 0)
        keys = page_keys(page, kind, range_id)
        screens = [n for n, found in memory.mmio2.items() if found.device.endswith("vram")]
        for row in stored.tolist():
            for first in range(0, int(count[row]), BATCH):
                some = min(BATCH, int(count[row]) - first)
                at = int(offset[row]) + first * memory.index.stride
                key = int(keys[row]) + first
                data = self._add_ends(at, some, memory.index.stride, key)
                if int(range_id[row]) in screens and int(page[row]) + first < _TEXT_PAGES:
                    self._text(data, at, memory.index.stride, key)

    def _text(self, data: bytes, offset: int, stride: int, key: int) -> None:
        """Search a text screen: a VGA has four bytes for each character, of which the first two are
        it and its colours."""
        count = len(data) // stride
        pages = np.ndarray((count, PAGE), np.uint8, data, self.head, (stride, 1))
        cells = pages.reshape(-1, 4)[:, :2].tobytes()
        found, _ = self.matcher.scan(memoryview(cells), len(cells))
        for at, pattern in found:
            nth, inside = divmod(at // 2 * 4 + at % 2, PAGE)
            spot = Resolver.spot(key + nth, inside, offset + nth * stride)
            self.hits.append((spot, pattern, (), 0))

    def _add_ends(self, offset: int, count: int, stride: int, key: int) -> bytes:
        try:
            data = os.pread(self.stream.fd, count * stride, offset)
        except OSError as error:
            raise NotReadable(self.stream.path, error.strerror or str(error)) from error
        whole = len(data) // stride
        if whole < count:
            self.bad(Damaged("page: the file ends inside it", offset, count * stride, len(data)))
        self.ends.add_run(data, self.head, whole, stride, key, offset)
        return data


class RejoinedWalk(AuditWalk):
    """Takes what is in compressed pages from those who have searched them, row by row.

    `same` tells whether there were as many of them as there are in the file.
    """

    def __init__(self, stream: Stream, matcher: Matcher, found: Unpacked) -> None:
        super().__init__(stream, matcher, Budget(), None)
        self._found = found
        self._row = 0

    @property
    def same(self) -> bool:
        return self._row == len(self._found.heads)

    def unpacked(self, at: npt.NDArray[np.int64]) -> Unpacked:
        first, self._row = self._row, self._row + len(at)
        return self._found.rows(first, self._row)

    def _add(self, found: Unpacked, keys: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> None:
        if len(found.heads) == len(keys):
            super()._add(found, keys, offsets)


def stored_alone(
    stream: Stream, offset: npt.NDArray[Any], count: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Which of the rows that stand in the stream's buffer are no runs: plain ones, compressed."""
    single = np.flatnonzero(count == 1)
    at = (offset[single] - np.uint64(stream.base)).astype(np.int64)
    form = np.frombuffer(stream.buf, np.uint8)[at] & 0x0F
    return single[form == c_ssm.REC_RAW], single[form == c_ssm.REC_LZF]


def page_keys(
    page: npt.NDArray[Any], kind: npt.NDArray[Any], range_id: npt.NDArray[Any]
) -> npt.NDArray[np.uint64]:
    """The keys of pages: their number, above it their space's, which is 0 for RAM, else
    1..3 << 8 | range id (Resolver.SPACES)."""
    table = np.zeros(16, np.uint64)
    table[[c_pgm.MMIO2_RAW, c_pgm.MMIO2_ZERO]] = 1
    table[c_pgm.ROM_VIRGIN] = 2
    table[[c_pgm.ROM_SHADOW_RAW, c_pgm.ROM_SHADOW_ZERO]] = 3
    group = table[kind]
    space = np.where(group > 0, group << np.uint64(8) | range_id, np.uint64(0))
    keys: npt.NDArray[np.uint64] = space << np.uint64(32) | page
    return keys


def search(
    stream: Stream,
    wanted: list[Pattern],
    matcher: Matcher,
    raw: RawSearch,
    report: Report,
    progress: Progress | None,
) -> None:
    """Fill in `report`: walk the file, and put together what the walk and `raw` found."""
    walk = walk_of(stream, matcher, progress)
    walk.run()
    walk.finish()
    raw.help()
    raw.wait()
    finish(report, wanted, walk, raw)


def walk_of(
    stream: Stream, matcher: Matcher, progress: Progress | None = None
) -> AuditWalk | StreamAuditWalk:
    """What takes a file apart, by how it begins. Raises NotReadable."""
    if is_stream(stream):
        return StreamAuditWalk(stream, matcher, Budget(), progress)
    return AuditWalk(stream, matcher, Budget(), progress)


def finish(
    report: Report, wanted: list[Pattern], walk: AuditWalk | StreamAuditWalk, raw: RawFound
) -> None:
    """Fill in `report` from what a walk that has ended and a search of the bytes have found."""
    report.problems += walk.problems
    if raw.too_many or walk.matcher.gave_up:
        report.problems.append(LimitExceeded("compressed streams", 0, 0))
    with walk.state() as state:
        Collector(report, wanted, walk, raw, state).collect()
    if walk.budget.exceeded:
        report.problems.append(LimitExceeded(walk.budget.exceeded, 0, 0))
