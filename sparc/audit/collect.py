"""Turns what an audit's two searches found into findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sparc.audit.decoders import decoder
from sparc.audit.patterns import Pattern
from sparc.audit.raw import RawSearch
from sparc.audit.report import Finding, Report
from sparc.audit.resolve import Resolver, Spot
from sparc.audit.split import find_splits
from sparc.errors import Damaged
from sparc.sav import c_pgm
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    from sparc.audit.scan import AuditWalk

__all__ = ["MAX_FINDINGS", "Collector"]

PAGE = c_pgm.PAGE
MAX_FINDINGS = 10_000


class Collector:
    """Turns what the two searches found into findings."""

    def __init__(
        self,
        report: Report,
        wanted: list[Pattern],
        walk: AuditWalk,
        raw: RawSearch,
        state: SavedState,
    ) -> None:
        self.report = report
        self.wanted = wanted
        self.walk = walk
        self.raw = raw
        self.state = state
        self.resolver = Resolver(state)
        self._seen: set[Finding] = set()

    def collect(self) -> None:
        for spot, pattern, layers, inner in self.walk.hits:
            self._add(spot, pattern, layers, inner)
        lengths = [len(self.wanted[p].value) for _, p in self.raw.hits]
        spots = self.resolver.resolve([at for at, _ in self.raw.hits], lengths)
        for found, (_, pattern) in zip(spots, self.raw.hits, strict=True):
            if found is not None:
                self._add(found, pattern)
        self._splits()
        self._compressed()
        self.report.findings = sorted(self._seen, key=_order)

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
            if len(self._seen) >= MAX_FINDINGS:
                self.report.more.append(number)
                continue
            self._seen.add(
                Finding(
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
                )
            )

    def _splits(self) -> None:
        _, _, keys, offsets = self.walk.ends.joined()

        def content(row: int) -> bytes:
            return self.resolver.page(int(offsets[row]))

        for split in find_splits(self.wanted, self.walk.ends, content, MAX_FINDINGS):
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


def _order(finding: Finding) -> tuple[Any, ...]:
    return (
        finding.secret,
        finding.place,
        finding.name,
        finding.address,
        finding.encoding,
        finding.inner,
    )
