"""What was aimed at, what was measured, and whether it is reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tools.bench.ratios import Ratio, ratios
from tools.bench.results import Measured

__all__ = ["COLLECTION_PAGES", "Target", "cost_per_mb", "everyday", "slope", "targets"]

MB = 1 << 20
KB = 1 << 10
_PAGE = 4096
_GB_PAGES = (1 << 30) // _PAGE
COLLECTION_PAGES = 64 * _GB_PAGES
# More than this part of a guest's memory was filled in none of the cases.
_FILLED = 0.7
_PAPER_MB = 1024
_MOST_ALIKE = 100


@dataclass(frozen=True)
class Target:
    """`reached` is None where nothing was measured."""

    case: str
    target: str
    measured: str = "not measured"
    reached: bool | None = None


Lines = list[Measured]


def _of(lines: Lines, experiment: str) -> Lines:
    return [line for line in lines if line["experiment"] == experiment]


def _ratio(
    lines: Lines, case: str, metric: str, most: float, least_mb: int = 0
) -> tuple[str, bool] | None:
    found: list[tuple[int, Ratio]] = [
        (memory, ratio)
        for (memory, own), ratio in sorted(ratios(_of(lines, "memory"), metric).items())
        if own == case and memory >= least_mb
    ]
    if not found:
        return None
    told = ", ".join(f"{ratio.median:.3f} at {memory} MB" for memory, ratio in found)
    return told, all(ratio.median <= most for _, ratio in found)


def _idle_more(lines: Lines) -> tuple[str, bool] | None:
    found = [
        (memory, ratio)
        for (memory, case), ratio in sorted(ratios(_of(lines, "memory"), "checkpoint").items())
        if case == "idle"
    ]
    if not found:
        return None
    told = ", ".join(
        f"{1000 * ratio.more:+.0f} ms at {memory} MB (one round {1000 * ratio.most:+.0f})"
        for memory, ratio in found
    )
    return told, all(ratio.more <= 0.020 for _, ratio in found)


def cost_per_mb(lines: Lines) -> dict[str, float]:
    """Milliseconds per MB of what was stashed, zeroed and put back, of what was dropped, and of
    what was dropped and zero already: the least squares over all that was measured.
    """
    rows, times = [], []
    for line in _of(lines, "memory") + _of(lines, "excluded"):
        if line["system"] != "sparc":
            continue
        drop = line["drop_pages"] * _PAGE / MB
        full = min(drop, int(_FILLED * line["memory"])) if line["case"] == "freed" else 0
        rows.append([line["stash_bytes"] / MB, full, drop - full])
        times.append(1000 * (line["stash"] + line["zero"] + line["put_back"]))
    # Rounds of one case are all alike: only several cases tell the three apart.
    if len(rows) < 3 or np.linalg.cond(np.array(rows)) > _MOST_ALIKE:
        return {}
    found, *_ = np.linalg.lstsq(np.array(rows), np.array(times), rcond=None)
    return dict(zip(("stash", "drop", "zero"), map(float, found), strict=True))


def _cost(lines: Lines, what: str, most: float) -> tuple[str, bool] | None:
    found = cost_per_mb(lines)
    if not found:
        return None
    told = f"{found[what]:.3f} ms"
    if what == "drop":
        told += f"; {found['zero']:.3f} ms where it is zero already"
    return told, found[what] <= most


def _wire(lines: Lines) -> tuple[str, bool] | None:
    found = [4 * line["bitmap_bytes"] / line["pages"] for line in _of(lines, "guest-memory")]
    if not found:
        return None
    return f"{max(found):.2f} bit in each of two bitmaps", max(found) < 1.1


def _stash(lines: Lines) -> tuple[str, bool] | None:
    found = [
        line["locked"] / (line["stash_pages"] * _PAGE + line["extent_bytes"])
        for line in _of(lines, "host-memory")
        if line.get("stash_pages")
    ]
    if not found:
        return None
    # Memory comes in pages, and what is kept of the screen is besides.
    return f"{max(found):.3f} of the bytes named", max(found) <= 1.01


def slope(lines: Lines, x: str, y: str) -> float:
    """How much more `y` there is for one more `x`, from the least to the most of it."""
    ordered = sorted(lines, key=lambda line: line[x])
    least, most = ordered[0], ordered[-1]
    return float((most[y] - least[y]) / (most[x] - least[x]))


def _growth(lines: Lines) -> tuple[str, bool] | None:
    counted = _of(lines, "guest-memory")
    if len(counted) < 2:
        return None
    guest = slope(counted, "pages", "bitmap_bytes") * _GB_PAGES / KB
    told, good = f"guest {guest:.1f} KB", guest <= 64.5
    host = _growth_of_host(lines)
    if host is not None:
        told, good = f"{told}, host {host:.1f} KB", good and host <= 64.5
    return f"{told} per GB", good


def _growth_of_host(lines: Lines) -> float | None:
    """KB per GB of RAM: what the machine's process has more with sparc, but for the stash."""
    sizes: dict[int, dict[str, int]] = {}
    for line in _of(lines, "host-memory"):
        if line["of"] == "memory" and line["case"] == "idle":
            own = line["anonymous"] - line.get("stash_bytes", 0)
            sizes.setdefault(line["memory"], {})[line["system"]] = own
    more = [
        {"gb": memory / 1024, "kb": (own["sparc"] - own["default"]) / KB}
        for memory, own in sizes.items()
        if len(own) == 2
    ]
    return slope(more, "gb", "kb") if len(more) > 1 else None


def _collection(lines: Lines) -> tuple[str, bool] | None:
    counted = sorted(_of(lines, "guest-memory"), key=lambda line: int(line["pages"]))
    if len(counted) < 2:
        return None
    each = slope(counted, "pages", "instructions")
    last = counted[-1]
    whole = last["instructions"] + each * max(0, COLLECTION_PAGES - last["pages"])
    worst = max(line["instructions"] / line["pages"] for line in counted)
    how = "counted" if last["pages"] >= COLLECTION_PAGES else "extrapolated"
    told = (
        f"{worst:.1f} a page at most, {each:.2f} for one more;"
        f" {whole / 1e6:.1f} million at 64 GB ({how})"
    )
    return told, worst <= 150 and whole / COLLECTION_PAGES <= 150


def _left(lines: Lines) -> tuple[str, bool] | None:
    found = {
        line["memory"]: line["sav"] / line["left"] - 1
        for line in _of(lines, "host-memory")
        if line.get("left") and line["case"] == "freed"
    }
    if not found:
        return None
    told = ", ".join(f"{100 * more:.2f} % at {memory} MB" for memory, more in sorted(found.items()))
    return told, max(found.values()) <= 0.01


def everyday(lines: Lines) -> dict[str, tuple[float, float, float]]:
    """By case: instructions of the programs (median), and their least and most."""
    return {
        line["case"]: (
            statistics.median(line["instructions"]),
            min(line["instructions"]),
            max(line["instructions"]),
        )
        for line in _of(lines, "guest-everyday")
    }


def _everyday(lines: Lines) -> tuple[str, bool] | None:
    found = everyday(lines)
    if "no module" not in found or "module" not in found:
        return None
    base, low, high = found["no module"]
    more = found["module"][0] / base - 1
    told = f"{100 * more:+.2f} %; without it, runs differ by {100 * (high - low) / base:.2f} %"
    return told, abs(found["module"][0] - base) <= high - low


def _scrub(lines: Lines) -> tuple[str, bool] | None:
    found = _of(lines, "scrub")
    if not found:
        return None
    told = "; ".join(
        f"1/{line['ratio']:.2f}, with {line['memory_mb']:.0f} MB for a file of"
        f" {line['file_mb']:.0f} MB"
        for line in found
    )
    memory = [line["memory_mb"] for line in found]
    return told, all(line["ratio"] <= 3 for line in found) and max(memory) - min(memory) < 64


_PAPER = "dirtied memory freed before the checkpoint, 1 GB and more"
_ALIVE = "dirtying program alive, 10 MB process excluded"

_ALL: list[tuple[str, str, Callable[[Lines], tuple[str, bool] | None]]] = [
    (_PAPER, "checkpoint at most 0.3", lambda f: _ratio(f, "freed", "checkpoint", 0.3, _PAPER_MB)),
    (_PAPER, "file at most 0.3", lambda f: _ratio(f, "freed", "file", 0.3, _PAPER_MB)),
    (
        _PAPER,
        "restore from the disk at most 0.5",
        lambda f: _ratio(f, "freed", "restore, disk", 0.5, _PAPER_MB),
    ),
    (
        _PAPER,
        "restore of a file in the page cache at most 0.5",
        lambda f: _ratio(f, "freed", "restore", 0.5, _PAPER_MB),
    ),
    (_ALIVE, "checkpoint at most 1.005", lambda f: _ratio(f, "alive", "checkpoint", 1.005)),
    (_ALIVE, "restore at most 1.00", lambda f: _ratio(f, "alive", "restore", 1.0)),
    ("idle VM", "checkpoint at most 1.02", lambda f: _ratio(f, "idle", "checkpoint", 1.02)),
    ("idle VM", "never more than 20 ms more", _idle_more),
    ("stash, zero, put back", "at most 0.35 ms per MB", lambda f: _cost(f, "stash", 0.35)),
    ("drop", "at most 0.1 ms per MB", lambda f: _cost(f, "drop", 0.1)),
    ("wire", "1 bit and not 1 byte per page", _wire),
    ("stash", "its bytes and no more", _stash),
    ("all other memory", "grows by at most 64 KB per GB of RAM", _growth),
    ("count in the guest", "at most 150 instructions a page, linear up to 64 GB", _collection),
    ("file with freed memory dropped", "within 1 % of what is left", _left),
    ("module, while nobody takes a checkpoint", "no instructions, within noise", _everyday),
    ("`sparc scrub`", "a third of cp's speed, memory bounded", _scrub),
]


def targets(lines: Lines) -> Iterator[Target]:
    """Each of them."""
    for case, target, measure in _ALL:
        found = measure(lines)
        yield Target(case, target, *found) if found else Target(case, target)
