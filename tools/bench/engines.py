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
out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from sparc_lab import Lab

from host_service.watch.run import Watch
from tools import kernel_headers
from tools.bench.checkpoints import numbers
from tools.bench.subject import Subject

__all__ = ["ENGINES"]

ENGINES = ("none", "pack", "count", "witness", "scrub")

_NAME = "measured"
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


def _measure(subject: Subject, engine: str) -> dict[str, float]:
    with subject.running():
        subject.dirty(int(subject.memory * _FILLED), end=True)
        subject.dirty(_SMALL_MB, exclude=True)
        if engine in ("count", "witness"):
            return _watched(subject, witness=engine == "witness")
        return _scrubbed(subject) if engine == "scrub" else subject.checkpoint(_NAME)


def compared(memory: int, rounds: int) -> Iterator[dict[str, Any]]:
    """All engines, in each round."""
    with Subject.pair(memory) as pair:
        for number in range(rounds + 1):
            for engine in ENGINES:
                subject = pair["sparc" if engine == "pack" else "default"]
                yield {"engine": engine, "round": number, **_measure(subject, engine)}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--memory", default="1024", show_default=True, callback=numbers)
def main(out: Path, rounds: int, memory: list[int]) -> None:
    """Measure, and add what was measured to a file."""
    with Lab(owned=True) as lab, tempfile.TemporaryDirectory() as headers, out.open("a") as file:
        os.environ.update(kernel_headers.for_bcc(lab, Path(headers)))
        for size in memory:
            for measured in compared(size, rounds):
                if measured["round"]:
                    line = {"experiment": "engines", "memory": size, **measured}
                    print(json.dumps(line), file=file, flush=True)


if __name__ == "__main__":
    main()
