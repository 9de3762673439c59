"""Checkpoints with sparc and without, in turn: `python -m tools.bench.checkpoints --out FILE`.

Each line of FILE is one measurement as JSON: experiment, memory (MB), case, system, round, and what
`Subject.checkpoint` measured, with ``restore``. Rounds that FILE has already are not measured anew.
What a first round measured is left out, but for memory: the experiment ``host-memory``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from tools.bench.left import what_is_left
from tools.bench.results import Results, numbers
from tools.bench.subject import PACK, Subject

__all__ = ["CASES"]

CASES = ("freed", "alive", "idle")
"""Most of the memory was filled by a program that ended, or one that lives; or by none."""

_SMALL_MB = 10
# The rest is for the guest's kernel and its other programs.
_FILLED = 0.7
_NAME = "measured"


@dataclass(frozen=True)
class Experiment:
    """Several cases of one pair of machines; `case` and what brings it about."""

    name: str
    memory: int
    cases: Mapping[str, Callable[[Subject], None]]
    way: str = "vboxmanage"
    second: str = "sparc"

    @property
    def machines(self) -> tuple[int, str]:
        """Those with the same can be measured with the same pair."""
        return self.memory, self.second

    def missing(self, results: Results, rounds: int) -> dict[str, list[int]]:
        """Which rounds of which case there are no lines of."""
        own = {"experiment": self.name, "memory": self.memory}
        found = {case: results.missing(rounds, case=case, **own) for case in self.cases}
        return {case: numbers for case, numbers in found.items() if numbers}

    def run(self, pair: list[Subject], results: Results, rounds: int) -> None:
        """Measure what is missing."""
        for case, left in self.missing(results, rounds).items():
            self._say(case, "the machines are made ready")
            for subject in pair:
                subject.make_ready(self.cases[case])
            for subject in pair:
                self._first(subject, case, results)
            for number in left:
                self._say(case, f"round {number} of {rounds}")
                results.add(*(self._measure(one, case, number) for one in pair))

    def _say(self, case: str, what: str) -> None:
        click.echo(f"{datetime.now():%H:%M:%S} {self.name}, {self.memory} MB, {case}: {what}")

    def _line(self, subject: Subject, case: str) -> dict[str, object]:
        own = {"experiment": self.name, "memory": self.memory, "case": case}
        return {**own, "system": subject.system}

    def _measure(self, subject: Subject, case: str, number: int) -> dict[str, object]:
        with subject.ready():
            found = subject.checkpoint(_NAME, self.way)
            # A guest that has nobody to keep out is not asked.
            if found["prepare"]:
                found |= subject.in_guest()
            found["restore"] = subject.restore(_NAME)
            found["restore_disk"] = subject.restore(_NAME, cached=False)
        return {**self._line(subject, case), "round": number, **found}

    def _first(self, subject: Subject, case: str, results: Results) -> None:
        with subject.ready():
            path, weighed = subject.weighed_checkpoint(_NAME, self.way)
            found = {**weighed, **subject.reported(path)}
            if subject.system == "sparc" and self.name == "memory":
                found |= what_is_left(path)
            subject.restore(_NAME)
        results.add(
            {**self._line(subject, case), **found, "experiment": "host-memory", "of": self.name}
        )


def _in(case: str, memory: int, subject: Subject) -> None:
    """Bring about the case; one program of 10 MB is to be kept out in each."""
    if case != "idle":
        subject.dirty(int(memory * _FILLED), end=case == "freed")
    subject.dirty(_SMALL_MB, exclude=True)


def _excluded(megabytes: int, subject: Subject) -> None:
    subject.dirty(megabytes, exclude=True)


def _live(exclude: bool, memory: int, subject: Subject) -> None:
    subject.dirty(memory // 4, exclude=exclude)


def _nothing(_: Subject) -> None:
    pass


def experiments(
    memory: list[int],
    cases: list[str],
    excluded: list[int],
    excluded_memory: int,
    live_memory: int,
    pack_memory: int,
) -> list[Experiment]:
    """All, in the order of what machines they take, the largest last. Sizes are in MB; 0 or none
    leaves one out.
    """
    found = [
        Experiment("memory", size, {case: partial(_in, case, size) for case in cases})
        for size in memory
    ]
    if excluded:
        sizes = {str(size): partial(_excluded, size) for size in excluded}
        found.append(Experiment("excluded", excluded_memory, sizes))
    if live_memory:
        who = {
            "nobody": partial(_live, False, live_memory),
            "excluded": partial(_live, True, live_memory),
        }
        found.append(Experiment("live", live_memory, who, way="live"))
    if pack_memory:
        found.append(Experiment("pack", pack_memory, {"no module": _nothing}, second=PACK))
    return sorted(found, key=lambda experiment: experiment.machines)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--memory", default="512,1024,2048,4096,8192", show_default=True)
@click.option("--cases", default=",".join(CASES), show_default=True, help="Of --memory.")
@click.option("--excluded", default="1,16,64,256,1024,4096", show_default=True)
@click.option("--excluded-memory", default=6144, show_default=True)
@click.option("--live-memory", default=1024, show_default=True)
@click.option("--pack-memory", default=512, show_default=True)
def main(
    out: Path,
    rounds: int,
    memory: str,
    cases: str,
    excluded: str,
    excluded_memory: int,
    live_memory: int,
    pack_memory: int,
) -> None:
    """Measure what FILE has not yet, and add it."""
    results = Results(out)
    wanted = experiments(
        numbers(memory),
        [case for case in CASES if case in cases.split(",")],
        numbers(excluded),
        excluded_memory,
        live_memory,
        pack_memory,
    )
    for machines, group in itertools.groupby(wanted, key=lambda experiment: experiment.machines):
        left = [experiment for experiment in group if experiment.missing(results, rounds)]
        if left:
            with Subject.pair(*machines) as pair:
                for experiment in left:
                    experiment.run(pair, results, rounds)


if __name__ == "__main__":
    main()
