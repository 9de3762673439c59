"""The page's sections: each takes what was measured, and is "" where nothing of its kind was."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path

from tools.bench import charts, steps
from tools.bench.notes import NOTES
from tools.bench.ratios import METRICS, ratios
from tools.bench.results import Measured
from tools.bench.targets import MB, cost_per_mb, everyday, targets

__all__ = ["SECTIONS"]

_PAGE_MB = 4096 / MB
_FOLDER = "performance"

Lines = list[Measured]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _picture(words: str, name: str) -> str:
    return f"![{words}]({_FOLDER}/{name}.png)"


def _of(lines: Lines, *experiments: str) -> Lines:
    return [line for line in lines if line["experiment"] in experiments]


def _of_targets(lines: Lines, _: Path) -> str:
    words = {True: "yes", False: "**no**", None: ""}
    found = list(targets(lines))
    rows = [[f"{one.case}: {one.target}", one.measured, words[one.reached]] for one in found]
    missed = [
        f"- *{one.target}*: {NOTES.get(one.target, 'it is not known yet what bounds it.')}"
        for one in found
        if one.reached is False
    ]
    table = _table(["target", "measured", "reached?"], rows)
    return "\n\n".join(["## What was aimed at", table, *(["\n".join(missed)] if missed else [])])


def _by_memory(lines: Lines, docs: Path) -> str:
    measured = _of(lines, "memory")
    rows = []
    for name in METRICS:
        unit = MB if name == "file" else 1
        rows += [
            [
                name,
                case,
                f"{memory}",
                f"{ratio.default / unit:.2f}",
                f"{ratio.sparc / unit:.2f}",
                str(ratio),
                f"{ratio.rounds}",
            ]
            for (memory, case), ratio in sorted(ratios(measured, name).items())
        ]
    if not rows:
        return ""
    charts.by_memory(docs / _FOLDER / "memory.png", measured)
    head = ["", "case", "guest's MB", "default, s or MB", "sparc", "ratio (spread)", "rounds"]
    return "\n\n".join(
        [
            "## A program fills 70 % of memory",
            "It has ended (`freed`), lives (`alive`), or there is none (`idle`). A program of 10 MB"
            " is excluded in each case. Each round begins with the same state of the same machine."
            " What was freed has its content still, as with distributions' kernels, which clear"
            " pages for their next user (`init_on_alloc`).",
            _picture("sparc against default, by guest memory", "memory"),
            _table(head, rows),
        ]
    )


def _by_excluded(lines: Lines, docs: Path) -> str:
    ours = [line for line in _of(lines, "excluded") if line["system"] == "sparc"]
    if not ours:
        return ""
    rows: list[tuple[int, list[float]]] = []
    for size in sorted({int(one["case"]) for one in ours}):
        here = [one for one in ours if one["case"] == str(size)]
        ms = [
            1000 * statistics.median(one[step] for one in here)
            for step in ("stash", "zero", "put_back")
        ]
        stash = statistics.median(one["stash_bytes"] for one in here) / MB
        drop = statistics.median(one["drop_pages"] for one in here) * _PAGE_MB
        rows.append((size, [stash, drop, *ms]))
    names = ("stash", "zero", "put back")
    points = {
        name: [(own[0], own[column]) for _, own in rows]
        for column, name in enumerate(names, start=2)
    }
    charts.lines(docs / _FOLDER / "excluded.png", points, "stash, MB", "ms")
    whole = ratios(_of(lines, "excluded"), "checkpoint")
    told = [
        [
            f"{size}",
            *(f"{value:.1f}" for value in own),
            str(ratio) if (ratio := whole.get((ours[0]["memory"], str(size)))) else "",
        ]
        for size, own in rows
    ]
    head = ["excluded MB", "stash MB", "dropped MB", *(f"{name}, ms" for name in names)]
    cost = cost_per_mb(lines)
    return "\n\n".join(
        [
            f"## The size of what is excluded\n\nIn a guest of {ours[0]['memory']} MB.",
            _picture("milliseconds by size of the stash", "excluded"),
            _table([*head, "checkpoint, sparc / default"], told),
            "By least squares over all rounds on this page: "
            + ", ".join(
                f"{value:.3f} ms per MB {words}"
                for value, words in zip(
                    cost.values(),
                    ("stashed, zeroed and put back", "dropped", "dropped that was zero already"),
                    strict=True,
                )
            )
            + "."
            if cost
            else "",
        ]
    ).strip()


def _steps(lines: Lines, _: Path) -> str:
    parts = []
    kinds = dict.fromkeys(
        (line["experiment"], line["memory"], line["case"]) for line in _of(lines, "memory", "live")
    )
    for kind in kinds:
        experiment, memory, case = kind
        if experiment == "memory" and case == "idle":
            continue
        own = [
            line
            for line in _of(lines, experiment)
            if (line["memory"], line["case"]) == (memory, case)
        ]
        title = f"{'live, excluded: ' if experiment == 'live' else ''}{case}, {memory} MB"
        parts.append(
            f"### {title[0].upper()}{title[1:]}\n\n"
            + _table(["", "default, ms", "sparc, ms"], steps.rows(own))
        )
    head = (
        "## What each step takes\n\nMedians. Before the guest is suspended it runs; what it does by"
        " its own clock takes that long because each of its instructions is interpreted here."
    )
    return "\n\n".join([head, *parts]) if parts else ""


def _live(lines: Lines, _: Path) -> str:
    measured = _of(lines, "live")
    rows = [
        [case, f"{ratio.default:.3f}", f"{ratio.sparc:.3f}", str(ratio), f"{ratio.rounds}"]
        for (_, case), ratio in sorted(ratios(measured, "still").items())
    ]
    if not rows:
        return ""
    head = ["excluded", "default, s", "sparc, s", "ratio (spread)", "rounds"]
    return (
        "## Live snapshots: how long the guest stands still\n\nWith somebody excluded, a live"
        " snapshot is taken of a paused machine: memory that was written before the guest parked"
        " cannot be taken back.\n\n" + _table(head, rows)
    )


def _pack(lines: Lines, _: Path) -> str:
    measured = _of(lines, "pack")
    rows = [
        [name, f"{ratio.default:.3f}", f"{ratio.sparc:.3f}", str(ratio), f"{ratio.rounds}"]
        for name in ("checkpoint", "restore", "restore, disk")
        for ratio in ratios(measured, name).values()
    ]
    if not rows:
        return ""
    head = ["", "without the pack, s", "with it, s", "ratio (spread)", "rounds"]
    return "## A guest without the module, on a host with the pack\n\n" + _table(head, rows)


def _engines(lines: Lines, _: Path) -> str:
    measured = _of(lines, "engines")
    if not measured:
        return ""
    rows = []
    for engine in dict.fromkeys(line["engine"] for line in measured):
        own = [line for line in measured if line["engine"] == engine]
        then = statistics.median(line.get("scrub", 0.0) for line in own)
        sizes = [line["scrubbed"] if "scrubbed" in line else line["file"] for line in own]
        size = statistics.median(sizes)
        took = statistics.median(line["command"] - line["prepare"] for line in own)
        saving = statistics.median(line["saving"] for line in own)
        seconds = [f"{took:.2f}", f"{saving:.2f}", f"{then:.2f}" if then else ""]
        rows.append([engine, *seconds, f"{size / MB:.1f}", f"{len(own)}"])
    head = ["engine", "checkpoint, s", "of it VirtualBox saves, s", "afterwards, s"]
    return (
        "## Other ways to the same end\n\n`none` is VirtualBox alone, `pack` is sparc. `count` and"
        " `witness` only look: a probe for each page (`sparc watch`, and with `--verify`); probes"
        " that also change what is saved would cost at least as much. `scrub` rewrites the"
        " finished file.\n\n" + _table([*head, "file, MB", "rounds"], rows)
    )


def _guest(lines: Lines, docs: Path) -> str:
    counted = _of(lines, "guest-memory", "guest-processes", "guest-excluded")
    if not counted:
        return ""
    rows = [
        [
            *(f"{one[name]}" for name in ("memory", "processes", "excluded", "pages", "extents")),
            f"{one['instructions'] / 1e6:.2f}",
            f"{one['instructions'] / one['pages']:.1f}",
        ]
        for one in counted
    ]
    of = {
        "RAM, GB": ("memory", 1024),
        "processes": ("processes", 1),
        "excluded MB": ("excluded", 1),
    }
    charts.counts(
        docs / _FOLDER / "guest.png",
        {
            name: sorted(
                (one[key] / unit, one["instructions"] / 1e6) for one in _of(lines, f"guest-{key}")
            )
            for name, (key, unit) in of.items()
        },
    )
    head = ["RAM, MB", "more processes", "excluded MB", "pages", "extents"]
    return "\n\n".join(
        [
            "## What the guest counts",
            "Under QEMU, in instructions (`-icount`), on one processor: what happens while all"
            " processors stand still, from the first page to the manifest.",
            _picture("instructions of a count", "guest"),
            _table([*head, "million instructions", "a page"], rows),
        ]
    )


def _everyday(lines: Lines, _: Path) -> str:
    found = everyday(lines)
    if not found:
        return ""
    base = found["no module"][0]
    rows = [
        [
            case,
            f"{median / 1e6:.2f}",
            f"{low / 1e6:.2f} to {high / 1e6:.2f}",
            f"{median / base:.4f}",
        ]
        for case, (median, low, high) in found.items()
    ]
    return (
        "## What the module costs while nobody takes a checkpoint\n\nUnder QEMU, in instructions:"
        " the same programs each time, that start others and use pipes, sockets, files and"
        " memory.\n\n" + _table(["", "million instructions", "least to most", "ratio"], rows)
    )


def _files(lines: Lines, _: Path) -> str:
    found = _of(lines, "audit", "export", "scrub")
    shown = {"audit": ["audit"], "export": ["export"], "scrub": ["rewrite", "command", "secrets"]}
    words = {
        "audit": "`sparc audit`, ten secrets",
        "export": "`sparc sav export`",
        "rewrite": "`sparc scrub`: the rewriting",
        "command": "`sparc scrub`, 10,000 pages",
        "secrets": "`sparc scrub`, 10,000 pages and ten secrets",
    }
    rows = [
        [
            words[step],
            f"{line['memory']}",
            f"{line['median_s'][step]:.2f}",
            f"{line['memory'] / line['median_s'][step]:.0f}",
            f"{line['memory_mb']:.0f}",
        ]
        for line in found
        for step in shown[line["experiment"]]
    ]
    if not rows:
        return ""
    head = ["", "guest's MB", "s", "MB of guest RAM a second", "memory, MB"]
    return (
        "## Saved states read and rewritten\n\n70 % of the guest's memory is random. With a warm"
        " cache; `sparc scrub` as a whole reads the new file again, waits for the disk, and"
        " overwrites the old one.\n\n" + _table(head, rows)
    )


SECTIONS = [
    _of_targets,
    _by_memory,
    _by_excluded,
    _live,
    _steps,
    _pack,
    _engines,
    _guest,
    _everyday,
    _files,
]
