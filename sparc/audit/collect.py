"""Turns what an audit's two searches found into findings."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from sparc.audit.decoders import decoder
from sparc.audit.patterns import Pattern
from sparc.audit.raw import RawFound
from sparc.audit.report import Finding, Report
from sparc.audit.resolve import Resolver, Spot
from sparc.audit.split import find_splits
from sparc.errors import Damaged
from sparc.sav import c_pgm
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    from sparc.audit.scan import AuditWalk, StreamAuditWalk

__all__ = ["MAX_FINDINGS", "MAX_OF_ONE", "Collector"]

PAGE = c_pgm.PAGE
# What is listed of one secret, and of all: each has an equal share, so that none hides another.
MAX_OF_ONE = 10_000
MAX_FINDINGS = 100_000
_BATCH = 1 << 16


class Collector:
    """Turns what the two searches found into findings."""

    def __init__(
        self,
        report: Report,
        wanted: list[Pattern],
        walk: AuditWalk | StreamAuditWalk,
        raw: RawFound,
        state: SavedState,
    ) -> None:
        self.report = report
        self.wanted = wanted
        self.walk = walk
        self.raw = raw
        self.state = state
        self.resolver = Resolver(state)
        self._seen: set[Finding] = set()
        self._counts: Counter[int] = Counter()
        self._limit = _share(len(report.secrets))
        self._more: set[int] = set()

    def collect(self) -> None:
        for spot, pattern, layers, inner in self.walk.hits:
            self._add(spot, pattern, layers, inner)
        for begin in range(0, len(self.raw.hits), _BATCH):
            hits = self.raw.hits[begin : begin + _BATCH]
            lengths = [len(self.wanted[p].value) for _, p in hits]
            spots = self.resolver.resolve([at for at, _ in hits], lengths)
            for found, (_, pattern) in zip(spots, hits, strict=True):
                if found is not None:
                    self._add(found, pattern)
        self._splits()
        self._compressed()
        # What the matchers did not keep; looking into streams may add to it.
        for pattern in self.walk.matcher.saturated | self.raw.saturated:
            self._mark(pattern)
        self.report.findings = sorted(self._seen, key=_order)
        self.report.more = sorted(self._more)

    def _mark(self, pattern: int) -> None:
        """Note that not all places of a pattern are known."""
        self._more.update(number for number, _ in self.wanted[pattern].owners)

    def _add(
        self,
        spot: Spot,
        pattern: int,
        layers: tuple[str, ...] = (),
        inner: int = 0,
        second: Spot | None = None,
        cut: int = 0,
    ) -> None:
        superseded = self.resolver.superseded(spot) or (
            second is not None and self.resolver.superseded(second)
        )
        for number, encoding in self.wanted[pattern].owners:
            finding = Finding(
                number,
                encoding,
                spot.place,
                spot.name,
                spot.address,
                spot.file_offset,
                None if second is None else second.address,
                cut,
                layers,
                inner,
                superseded,
                len(self.wanted[pattern].value),
            )
            if finding in self._seen:
                continue
            if self._counts[number] >= self._limit:
                self._more.add(number)
                continue
            self._counts[number] += 1
            self._seen.add(finding)

    def _splits(self) -> None:
        _, _, keys, offsets = self.walk.ends.joined()

        def content(row: int) -> bytes:
            return self.resolver.page(int(offsets[row]))

        limit = _share(len(self.wanted))
        splits, dropped = find_splits(self.wanted, self.walk.ends, content, limit)
        for pattern in dropped:
            self._mark(pattern)
        for split in splits:
            inside = PAGE - split.cut
            tail = Resolver.spot(int(keys[split.tail]), inside, int(offsets[split.tail]))
            head = Resolver.spot(int(keys[split.head]), 0, int(offsets[split.head]))
            self._add(tail, split.pattern, second=head, cut=split.cut)

    def _compressed(self) -> None:
        """Look into every compressed stream that starts in a page."""
        todo = list(self.walk.candidates)
        found = self.raw.candidates
        spots = self.resolver.resolve([at for at, _, _ in found], [2] * len(found))
        for spot, (_, kind, sure) in zip(spots, found, strict=True):
            # One that could not be told because its page ended is worth a look, no other.
            if spot is not None and (sure or spot.inside > PAGE - 80):
                todo.append((spot, kind))
        for spot, kind in todo:
            if self.walk.budget.exceeded:
                return
            if spot.place != "file":
                self._look_into(spot, kind)

    def _look_into(self, spot: Spot, kind: int) -> None:
        def hit(offset: int, pattern: int, layers: tuple[str, ...]) -> None:
            self._add(spot, pattern, layers, offset)

        stream = decoder(kind, spot.address, self.walk.matcher, hit, self.walk.budget, ())
        try:
            for data in self.resolver.from_spot(spot):
                if not self.walk.budget.spend(len(data)) or not stream.feed(data):
                    break
            stream.close()
        except Damaged as error:
            self.report.problems.append(error)


def _share(count: int) -> int:
    """How many findings each of `count` secrets, or patterns, may have."""
    return max(1, min(MAX_OF_ONE, MAX_FINDINGS // count))


def _order(finding: Finding) -> tuple[Any, ...]:
    return (
        finding.secret,
        finding.place,
        finding.name,
        finding.address,
        finding.encoding,
        finding.inner,
    )
