"""Writes docs/performance.md and its charts: `python -m tools.bench.performance MEASURED...`."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

__all__ = ["Ratio", "ratios"]

_DOCS = Path(__file__).parents[2] / "docs"
_CHARTS = _DOCS / "performance"
_MB = 1 << 20
_PAGE_MB = 4096 / _MB

Measured = dict[str, Any]
Metric = Callable[[Measured], float]

METRICS: dict[str, Metric] = {
    # What sparc does in the guest is measured where guests are not interpreted one by one.
    "checkpoint": lambda one: one["command"] - one["prepare"],
    "still": lambda one: one["still"],
    "file": lambda one: one["file"],
    "restore": lambda one: one["restore"],
}
TARGETS = {
    ("freed", "checkpoint"): 0.3,
    ("freed", "file"): 0.3,
    ("freed", "restore"): 0.5,
    ("alive", "checkpoint"): 1.005,
    ("alive", "restore"): 1.0,
    ("idle", "checkpoint"): 1.02,
}


class Ratio:
    """sparc's values against default's of the same rounds: medians, and the ratios' spread."""

    def __init__(self, default: list[float], sparc: list[float]) -> None:
        each = [ours / theirs for ours, theirs in zip(sparc, default, strict=True)]
        self.default = statistics.median(default)
        self.sparc = statistics.median(sparc)
        self.median = statistics.median(each)
        self.low, self.high = min(each), max(each)


def ratios(measured: Iterable[Measured], metric: Metric) -> dict[tuple[int, str], Ratio]:
    """By memory in MB and case."""
    rounds: dict[tuple[int, str], dict[int, dict[str, float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for one in measured:
        rounds[one["memory"], one["case"]][one["round"]][one["system"]] = metric(one)
    found = {}
    for key, pairs in rounds.items():
        whole = [pair for pair in pairs.values() if len(pair) == 2]
        if whole:
            found[key] = Ratio([pair["default"] for pair in whole], [p["sparc"] for p in whole])
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _by_memory(measured: list[Measured]) -> str:
    rows = []
    for name, metric in METRICS.items():
        unit = _MB if name == "file" else 1
        for (memory, case), ratio in sorted(ratios(measured, metric).items()):
            target = TARGETS.get((case, name))
            rows.append(
                [
                    name,
                    case,
                    f"{memory}",
                    f"{ratio.default / unit:.2f}",
                    f"{ratio.sparc / unit:.2f}",
                    f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})",
                    f"{target}" if target else "",
                ]
            )
    _chart_by_memory(measured)
    return _table(
        ["", "case", "guest's MB", "default, s or MB", "sparc", "ratio (spread)", "target"], rows
    )


def _chart_by_memory(measured: list[Measured]) -> None:
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    for axis, name in zip(axes, ("checkpoint", "file", "restore"), strict=True):
        found = ratios(measured, METRICS[name])
        for case in dict.fromkeys(case for _, case in found):
            points = sorted(
                (memory, ratio) for (memory, own), ratio in found.items() if own == case
            )
            sizes = [f"{memory}" for memory, _ in points]
            medians = [ratio.median for _, ratio in points]
            spread = [
                [ratio.median - ratio.low for _, ratio in points],
                [ratio.high - ratio.median for _, ratio in points],
            ]
            axis.errorbar(sizes, medians, yerr=spread, marker="o", capsize=3, label=case)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="guest's memory, MB", ylim=(0, 1.6))
    axes[0].set_ylabel("sparc / default")
    axes[0].legend()
    _save(figure, "memory")


def _by_excluded(measured: list[Measured]) -> str:
    ours = [one for one in measured if one["system"] == "sparc"]
    rows = []
    for size in sorted({int(one["case"]) for one in ours}):
        here = [one for one in ours if one["case"] == str(size)]
        ms = {
            step: 1000 * statistics.median(one[step] for one in here)
            for step in ("stash", "zero", "put_back")
        }
        stash = statistics.median(one["stash_bytes"] for one in here) / _MB
        drop = statistics.median(one["drop_pages"] for one in here) * _PAGE_MB
        rows.append(
            [
                f"{size}",
                f"{stash:.1f}",
                f"{drop:.0f}",
                *(f"{took:.1f}" for took in ms.values()),
                f"{sum(ms.values()) / stash:.3f}",
            ]
        )
    figure, axis = pyplot.subplots(figsize=(6, 3.6))
    for column, step in enumerate(("stash", "zero", "put back"), start=3):
        axis.plot(
            [float(row[1]) for row in rows], [float(row[column]) for row in rows], "o-", label=step
        )
    axis.set(xscale="log", yscale="log", xlabel="stash, MB", ylabel="ms")
    axis.legend()
    _save(figure, "excluded")
    return _table(
        [
            "excluded MB",
            "stash MB",
            "dropped MB",
            "stash ms",
            "zero ms",
            "put back ms",
            "ms per MB",
        ],
        rows,
    )


def _live(measured: list[Measured]) -> str:
    rows = [
        [case, f"{ratio.default:.2f}", f"{ratio.sparc:.2f}", f"{ratio.median:.2f}"]
        for (_, case), ratio in sorted(ratios(measured, METRICS["still"]).items())
    ]
    return _table(["excluded", "default, s", "sparc, s", "ratio"], rows)


def _guest(counted: list[Measured]) -> str:
    rows = [
        [
            f"{one['memory']}",
            f"{one['processes']}",
            f"{one['excluded']}",
            f"{one['pages']}",
            f"{one['extents']}",
            f"{one['instructions'] / 1e6:.2f}",
            f"{one['instructions'] / one['pages']:.1f}",
        ]
        for one in counted
    ]
    sizes = [one for one in counted if one["experiment"] == "guest-memory"]
    least, most = sizes[0], sizes[-1]
    slope = (most["instructions"] - least["instructions"]) / (most["pages"] - least["pages"])
    at_64 = most["instructions"] + slope * (64 * 1024 * _MB / 4096 - most["pages"])
    head = ["RAM, MB", "more processes", "excluded MB", "pages", "extents"]
    return (
        _table([*head, "million instructions", "a page"], rows)
        + f"\n\nEach further page of RAM costs {slope:.2f} instructions (target: 150 a page), so"
        f" 64 GB would take {at_64 / 1e6:.0f} million."
    )


def _save(figure: Any, name: str) -> None:
    _CHARTS.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(_CHARTS / f"{name}.png", dpi=110)
    pyplot.close(figure)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


@click.command()
@click.argument("measured", nargs=-1, type=click.Path(path_type=Path, exists=True))
def main(measured: tuple[Path, ...]) -> None:
    """Make the page from files that `tools.bench.checkpoints` wrote."""
    all_of_it = [json.loads(line) for path in measured for line in path.read_text().splitlines()]
    of = {
        name: [one for one in all_of_it if one["experiment"] == name]
        for name in ("memory", "excluded", "live")
    }
    made = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, {_processor()}"
    parts = [
        "# Performance",
        f"Made by `make bench`: {made}. Each round measures one system after the other; the first"
        " is left out. Ratios are of the two in one round: their median, the least and the most.",
        "What runs on the host is measured as it is. The guest's side is measured elsewhere: here"
        " each of its instructions is interpreted. So `checkpoint` is the time of the whole command"
        " but for the part in which the guest freezes and collects.",
        "## A program fills 70 % of memory\n\nIt has ended (`freed`), lives (`alive`), or there is"
        " none (`idle`). A program of 10 MB is excluded in each case.",
        "![sparc against default, by guest memory](performance/memory.png)",
        _by_memory(of["memory"]),
    ]
    if of["excluded"]:
        parts += [
            "## The size of what is excluded",
            "![milliseconds by size of the stash](performance/excluded.png)",
            _by_excluded(of["excluded"]),
        ]
    if of["live"]:
        parts += [
            "## Live snapshots: how long the guest stands still\n\nWith somebody excluded, a live"
            " snapshot is taken of a paused machine: memory that was written before the guest"
            " parked cannot be taken back.",
            _live(of["live"]),
        ]
    counted = [one for one in all_of_it if one["experiment"].startswith("guest-")]
    if counted:
        parts += [
            "## What the guest counts\n\nUnder QEMU, in instructions (`-icount`), on one processor:"
            " what happens while all processors stand still, from the first page to the manifest.",
            _guest(counted),
        ]
    (_DOCS / "performance.md").write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
