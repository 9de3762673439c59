"""Audits one saved state for a list of secrets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lzf
import numpy as np

from sparc.audit.collect import Collector
from sparc.audit.decoders import Budget, Scanner
from sparc.audit.matcher import Matcher
from sparc.audit.patterns import Pattern
from sparc.audit.raw import RawSearch
from sparc.audit.report import Report
from sparc.audit.resolve import Resolver, Spot
from sparc.audit.split import Ends
from sparc.errors import Damaged, LimitExceeded
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

__all__ = ["AuditWalk", "search"]

PAGE = c_pgm.PAGE
# So many decompressed pages are searched at once: 2 MiB.
_BATCH = 512
_PIECE = 1 << 20

Progress = Callable[[int, int], None]


class AuditWalk(Walk):
    """Searches unit contents and compressed pages on the way, and collects the ends of pages."""

    def __init__(
        self, stream: Stream, matcher: Matcher, budget: Budget, progress: Progress | None
    ) -> None:
        super().__init__(stream)
        self.matcher = matcher
        self.budget = budget
        self.ends = Ends()
        self.on_progress = progress
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

    # -- pages

    def pages(self, memory: Memory, first_row: int) -> None:
        offset, page, count, kind, range_id = memory.index.rows(first_row)
        stored = offset != 0
        if not stored.any():
            return
        offset, page, count = offset[stored], page[stored], count[stored]
        space = _space_numbers(kind[stored], range_id[stored])
        keys = space << np.uint64(32) | page
        base = np.uint64(self.stream.base)
        at = (offset - base).astype(np.int64)
        buf = np.frombuffer(self.stream.buf, np.uint8)
        for row in np.flatnonzero(count > 1).tolist():
            self._run_ends(int(at[row]), int(count[row]), int(keys[row]), int(offset[row]))
        single = np.flatnonzero(count == 1)
        form = buf[at[single]] & 0x0F
        plain = single[form == c_ssm.REC_RAW]
        for row in plain.tolist():
            start = int(at[row])
            _, size = record_size(self.stream.buf, start + 1)
            self._add_ends(start + 1 + size, 1, 0, int(keys[row]), int(offset[row]))
        packed = single[form == c_ssm.REC_LZF]
        for begin in range(0, len(packed), _BATCH):
            rows = packed[begin : begin + _BATCH]
            self._unpack(at[rows], keys[rows], offset[rows])

    def _run_ends(self, at: int, count: int, key: int, offset: int) -> None:
        self._add_ends(at + 4, count, RUN_STRIDE, key, offset)

    def _add_ends(self, start: int, count: int, stride: int, key: int, offset: int) -> None:
        shape, strides = (count, 4), (stride, 1)
        buf = self.stream.buf
        heads = np.ndarray(shape, np.uint8, buf, start, strides).copy().view("<u4")[:, 0]
        tails = np.ndarray(shape, np.uint8, buf, start + PAGE - 4, strides).copy().view("<u4")[:, 0]
        steps = np.arange(count, dtype=np.uint64)
        self.ends.add(
            heads, tails, np.uint64(key) + steps, np.uint64(offset) + steps * np.uint64(stride)
        )

    def _unpack(
        self, at: npt.NDArray[Any], keys: npt.NDArray[Any], offsets: npt.NDArray[Any]
    ) -> None:
        """Decompress and search a batch of pages; `at` are their records' places in the buffer."""
        view = self.stream.view
        buf = np.frombuffer(self.stream.buf, np.uint8)
        digits = [buf[at + i].astype(np.int64) for i in (1, 2, 3)]
        sizes = (digits[0] & 0x0F) << 12 | (digits[1] & 0x3F) << 6 | digits[2] & 0x3F
        starts = at + 5
        for i in np.flatnonzero(digits[0] & 0xF0 != 0xE0).tolist():
            # Lengths as VirtualBox does not write them, but may read them.
            sizes[i], count = record_size(self.stream.buf, int(at[i]) + 1)
            starts[i] = at[i] + 2 + count
        ends = starts + sizes - 1
        out: list[bytes] = []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            try:
                data = lzf.decompress(bytes(view[start:end]), PAGE)
            except ValueError:
                data = None
            if data is None or len(data) != PAGE:
                offset = int(offsets[len(out)])
                self.bad(Damaged("compressed page", offset, PAGE, len(data or b"")))
                data = bytes(PAGE)
            out.append(data)
        whole = b"".join(out)
        words = np.frombuffer(whole, "<u4").reshape(len(out), PAGE // 4)
        self.ends.add(words[:, 0].copy(), words[:, -1].copy(), keys, offsets)
        hits, candidates = self.matcher.scan(whole)
        for start, pattern in hits:
            row, inside = divmod(start, PAGE)
            if inside + len(self.matcher.patterns[pattern].value) <= PAGE:
                spot = Resolver.spot(int(keys[row]), inside, int(offsets[row]))
                self.hits.append((spot, pattern, (), 0))
        for start, kind, _ in candidates:
            row, inside = divmod(start, PAGE)
            self.candidates.append((Resolver.spot(int(keys[row]), inside, int(offsets[row])), kind))


def _space_numbers(kind: npt.NDArray[Any], range_id: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """The number of each page's space: 0 for RAM, else 1..3 << 8 | range id (Resolver.SPACES)."""
    table = np.zeros(16, np.uint64)
    table[[c_pgm.MMIO2_RAW, c_pgm.MMIO2_ZERO]] = 1
    table[c_pgm.ROM_VIRGIN] = 2
    table[[c_pgm.ROM_SHADOW_RAW, c_pgm.ROM_SHADOW_ZERO]] = 3
    group = table[kind]
    return np.where(group > 0, group << np.uint64(8) | range_id, np.uint64(0))


def search(
    stream: Stream,
    wanted: list[Pattern],
    matcher: Matcher,
    raw: RawSearch,
    report: Report,
    progress: Progress | None,
) -> None:
    """Fill in `report`: walk the file, and put together what the walk and `raw` found."""
    budget = Budget()
    walk = AuditWalk(stream, matcher, budget, progress)
    walk.run()
    walk.finish()
    raw.help()
    raw.wait()
    report.problems += walk.problems
    if raw.too_many or matcher.gave_up:
        report.problems.append(LimitExceeded("compressed streams", 0, 0))
    with SavedState.of(walk) as state:
        Collector(report, wanted, walk, raw, state).collect()
    if budget.exceeded:
        report.problems.append(LimitExceeded(budget.exceeded, 0, 0))
