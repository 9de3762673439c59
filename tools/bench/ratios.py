"""sparc against default, from the same rounds."""

from __future__ import annotations

import contextlib
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable

from tools.bench.results import Measured

__all__ = ["METRICS", "Metric", "Ratio", "ratios"]

Metric = Callable[[Measured], float]

METRICS: dict[str, Metric] = {
    # What sparc does in the guest is measured where guests are not interpreted one by one.
    "checkpoint": lambda one: one["command"] - one["prepare"],
    "still": lambda one: one["still"],
    "file": lambda one: one["file"],
    # Of a file that was written just now, and of one that is on the disk alone.
    "restore": lambda one: one["restore"],
    "restore, disk": lambda one: one["restore_disk"],
}


class Ratio:
    """sparc's values against default's of the same rounds: medians, and the ratios' spread; and by
    how much sparc's are more, in each round and at the median.
    """

    def __init__(self, default: list[float], sparc: list[float]) -> None:
        pairs = list(zip(sparc, default, strict=True))
        each = [ours / theirs for ours, theirs in pairs]
        more = [ours - theirs for ours, theirs in pairs]
        self.rounds = len(pairs)
        self.default = statistics.median(default)
        self.sparc = statistics.median(sparc)
        self.median = statistics.median(each)
        self.low, self.high = min(each), max(each)
        self.more, self.most = statistics.median(more), max(more)

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def ratios(measured: Iterable[Measured], name: str) -> dict[tuple[int, str], Ratio]:
    """Of the metric of that name, by memory in MB and case, where it was measured."""
    metric = METRICS[name]
    rounds: dict[tuple[int, str], dict[int, dict[str, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for one in measured:
        system = one["system"] if one["system"] == "default" else "sparc"
        with contextlib.suppress(KeyError):
            rounds[one["memory"], one["case"]][one["round"]][system] = metric(one)
    found = {}
    for key, pairs in rounds.items():
        whole = [pair for pair in pairs.values() if len(pair) == 2]
        if whole:
            found[key] = Ratio([pair["default"] for pair in whole], [p["sparc"] for p in whole])
    return found
