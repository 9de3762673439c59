"""The pictures on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from tools.bench.ratios import Ratio, ratios
from tools.bench.results import Measured

__all__ = ["by_memory", "counts", "lines"]

_DPI = 80
_SHOWN = ("checkpoint", "file", "restore", "restore, disk")


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=_DPI, pil_kwargs={"optimize": True})
    pyplot.close(figure)


def _points(axis: Any, points: list[tuple[int, Ratio]], label: str) -> None:
    medians = [ratio.median for _, ratio in points]
    spread = [
        [ratio.median - ratio.low for _, ratio in points],
        [ratio.high - ratio.median for _, ratio in points],
    ]
    axis.errorbar(
        [f"{memory}" for memory, _ in points],
        medians,
        yerr=spread,
        marker="o",
        capsize=3,
        label=label,
    )


def by_memory(path: Path, measured: list[Measured]) -> None:
    """sparc / default of each metric against memory, a line for each case."""
    figure, axes = pyplot.subplots(1, len(_SHOWN), figsize=(12, 3.6), sharey=True)
    for axis, name in zip(axes, _SHOWN, strict=True):
        found = ratios(measured, name)
        for case in dict.fromkeys(case for _, case in found):
            own = sorted((memory, ratio) for (memory, of), ratio in found.items() if of == case)
            _points(axis, own, case)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set(title=name, xlabel="guest's memory, MB", ylim=(0, 1.6))
    axes[0].set_ylabel("sparc / default")
    axes[0].legend()
    _save(figure, path)


def lines(path: Path, points: dict[str, list[tuple[float, float]]], x: str, y: str) -> None:
    """A line for each name, both axes logarithmic."""
    figure, axis = pyplot.subplots(figsize=(6, 3.6))
    for name, own in points.items():
        axis.plot([at for at, _ in own], [value for _, value in own], "o-", label=name)
    axis.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axis.legend()
    _save(figure, path)


def counts(path: Path, points: dict[str, list[tuple[float, float]]]) -> None:
    """Million instructions against each of several things, one beside the other."""
    figure, axes = pyplot.subplots(1, len(points), figsize=(4 * len(points), 3.2), squeeze=False)
    for axis, (name, own) in zip(axes[0], points.items(), strict=True):
        axis.plot([at for at, _ in own], [value for _, value in own], "o-")
        axis.set(xlabel=name, ylim=(0, None))
    axes[0][0].set_ylabel("million instructions")
    _save(figure, path)
