"""Ways to keep things out of a save, or to watch it: `python -m tools.bench.engines --out FILE`.

Each saves the same: most of the memory was filled by a program that ended, and one of 10 MB is to
be kept out. In turn:

- `none`: VirtualBox alone;
- `pack`: sparc;
- `count`: VirtualBox alone, and probes that count its pages (`sparc watch`);
- `witness`: the same, and each page with content is noted (`sparc watch --verify`);
- `scrub`: VirtualBox alone, and then `sparc scrub --free --name dirty` of the file.

Each line of FILE is one measurement as JSON: experiment, memory (MB), engine, round, and what
`Subject.checkpoint` measured. Of `count` and `witness` also ``pages`` (records of pages) and
``probes`` (s: the save as the probes saw it, from VMR3Save's beginning to its end); of `scrub`
``scrub`` (s) and ``scrubbed`` (the file's size in bytes then). What a first round measured is left
out; rounds that FILE has already are not measured anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from sparc_lab import Lab

from host_service.watch.run import Watch
from tools import kernel_headers
from tools.bench.results import Results, numbers
from tools.bench.subject import Subject

__all__ = ["ENGINES"]

ENGINES = ("none", "pack", "count", "witness", "scrub")

_EXPERIMENT = "engines"
_NAME = "measured"
_FIRST = 0
_SMALL_MB = 10
_FILLED = 0.7
_SECONDS = 60
_SPARC = Path(sys.executable).with_name("sparc")


def _watched(subject: Subject, *, witness: bool) -> dict[str, float]:
    with Watch(subject.name, witness=witness) as watch:
        assert watch.vms == [subject.name], watch.troubles
        # What the kernel counts waits there for whoever asks.
        measured = subject.checkpoint(_NAME)
        until = time.monotonic() + _SECONDS
        while not (seen := watch.look(0.1)):
            assert time.monotonic() < until
    save = seen[0].save
    assert save.saved and not save.cut and not save.numbers.lost and not save.numbers.odd
    took = (save.ended - save.began) / 1e9
    return {**measured, "pages": sum(save.numbers.pages), "probes": took}


def _scrubbed(subject: Subject) -> dict[str, float]:
    measured = subject.checkpoint(_NAME)
    path = subject.saved_state(_NAME)
    began = time.monotonic()
    argv = [str(_SPARC), "scrub", "--quiet", "--free", "--name", "dirty", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    # Status 1: it says what of a process it does not look for.
    assert done.returncode in (0, 1), done.stderr
    return {**measured, "scrub": took, "scrubbed": path.stat().st_size}


def _freed(subject: Subject) -> None:
    subject.dirty(int(subject.memory * _FILLED), end=True)
    subject.dirty(_SMALL_MB, exclude=True)


def _measure(subject: Subject, engine: str) -> dict[str, float]:
    with subject.ready():
        if engine in ("count", "witness"):
            return _watched(subject, witness=engine == "witness")
        return _scrubbed(subject) if engine == "scrub" else subject.checkpoint(_NAME)


def compare(memory: int, rounds: list[int], results: Results) -> None:
    """Measure all engines in each of these rounds."""
    with Subject.pair(memory) as (default, guarded):
        for subject in (default, guarded):
            subject.make_ready(_freed)
        for number in (_FIRST, *rounds):
            measured = [
                {"engine": engine, **_measure(guarded if engine == "pack" else default, engine)}
                for engine in ENGINES
            ]
            if number != _FIRST:
                own = {"experiment": _EXPERIMENT, "memory": memory, "round": number}
                results.add(*({**own, **one} for one in measured))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--memory", default="1024", show_default=True)
def main(out: Path, rounds: int, memory: str) -> None:
    """Measure what FILE has not yet, and add it."""
    results = Results(out)
    with Lab(owned=True) as lab, tempfile.TemporaryDirectory() as headers:
        os.environ.update(kernel_headers.for_bcc(lab, Path(headers)))
        for size in numbers(memory):
            if left := results.missing(rounds, experiment=_EXPERIMENT, memory=size):
                compare(size, left, results)


if __name__ == "__main__":
    main()
