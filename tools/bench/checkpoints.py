"""Checkpoints with sparc and without, in turn: `python -m tools.bench.checkpoints --out FILE`.

Each line of FILE is one measurement as JSON: experiment, memory (MB), case, system, round, and what
`Subject.checkpoint` measured, with ``restore``. What a first round measured is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tools.bench.subject import SYSTEMS, Subject

__all__ = ["CASES", "numbers"]

CASES = ("freed", "alive", "idle")
"""Most of the memory was filled by a program that ended, or one that lives; or by none."""

_SMALL_MB = 10
# The rest is for the guest's kernel and its other programs.
_FILLED = 0.7


def _in(subject: Subject, case: str) -> None:
    """Bring about the case; one program of 10 MB is to be kept out in each."""
    filled = int(subject.memory * _FILLED)
    if case != "idle":
        subject.dirty(filled, end=case == "freed")
    subject.dirty(_SMALL_MB, exclude=True)


def _measure(subject: Subject, name: str, way: str = "vboxmanage") -> dict[str, float]:
    measured = subject.checkpoint(name, way)
    return {**measured, "restore": subject.restore(name)}


def by_memory(memory: int, rounds: int) -> Iterator[dict[str, Any]]:
    """All cases with so many MB of guest memory."""
    with Subject.pair(memory) as pair:
        for case in CASES:
            for number in range(rounds + 1):
                for system in SYSTEMS:
                    with pair[system].running():
                        _in(pair[system], case)
                        found = _measure(pair[system], "measured")
                    yield {"case": case, "system": system, "round": number, **found}


def by_excluded(memory: int, sizes: list[int], rounds: int) -> Iterator[dict[str, Any]]:
    """Excluded programs of so many MB each."""
    with Subject.pair(memory) as pair:
        for size in sizes:
            for number in range(rounds + 1):
                for system in SYSTEMS:
                    with pair[system].running():
                        pair[system].dirty(size, exclude=True)
                        found = _measure(pair[system], "measured")
                    yield {"case": str(size), "system": system, "round": number, **found}


def live(memory: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Live snapshots, with a program to be excluded and without."""
    with Subject.pair(memory) as pair:
        for case in ("nobody", "excluded"):
            for number in range(rounds + 1):
                for system in SYSTEMS:
                    with pair[system].running():
                        pair[system].dirty(memory // 4, exclude=case == "excluded")
                        found = _measure(pair[system], "measured", "live")
                    yield {"case": case, "system": system, "round": number, **found}


def numbers(_: click.Context, __: click.Parameter, value: str) -> list[int]:
    """An option's numbers, with commas between them."""
    return [int(word) for word in value.split(",") if word]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--memory", default="512,1024,2048,4096,8192", show_default=True, callback=numbers)
@click.option("--excluded", default="1,16,64,256,1024,4096", show_default=True, callback=numbers)
@click.option("--excluded-memory", default=6144, show_default=True)
@click.option("--live-memory", default=1024, show_default=True)
def main(
    out: Path,
    rounds: int,
    memory: list[int],
    excluded: list[int],
    excluded_memory: int,
    live_memory: int,
) -> None:
    """Measure, and add what was measured to a file."""
    experiments: list[tuple[str, int, Iterator[dict[str, Any]]]] = [
        ("memory", size, by_memory(size, rounds)) for size in memory
    ]
    if excluded:
        found = by_excluded(excluded_memory, excluded, rounds)
        experiments.append(("excluded", excluded_memory, found))
    if live_memory:
        experiments.append(("live", live_memory, live(live_memory, rounds)))
    with out.open("a") as file:
        for experiment, size, measurements in experiments:
            for measured in measurements:
                if not measured["round"]:
                    continue
                print(json.dumps({"experiment": experiment, "memory": size, **measured}), file=file)
                file.flush()


if __name__ == "__main__":
    main()
