"""What reading and rewriting saved states costs: `python -m tools.bench.files --out FILE`.

`sparc audit`, `sparc sav export` and `sparc scrub` of made saved states, as in `tools.bench.audit`
and `tools.bench.scrub`, where more is said. Each line of FILE is one of the experiments ``audit``,
``export`` and ``scrub`` for a guest of so much ``memory`` (MB), 70 % of it random: medians.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from pathlib import Path

import click

from tools.bench import audit, scrub
from tools.bench.results import Measured, Results, numbers

__all__: list[str] = []

_RANDOM, _COMPRESSIBLE = 0.7, 0.04
_SECRETS = 10


def _audit(file: Path, folder: Path, rounds: int) -> Measured:
    secrets = folder / "secrets"
    rng = random.Random()
    secrets.write_text("\n".join(rng.randbytes(10).hex() for _ in range(_SECRETS)))
    return audit.measure(str(file), str(secrets), rounds)


def _export(file: Path, folder: Path, rounds: int) -> Measured:
    raw = folder / "exported.raw"
    argv = [sys.executable, "-m", "sparc.cli", "sav", "export", str(file), str(raw)]
    times = []
    for _ in range(rounds + 1):
        raw.unlink(missing_ok=True)
        times.append(audit.timed(argv))
    raw.unlink()
    memory = audit.peak_memory(argv)
    raw.unlink()
    return {"median_s": {"export": statistics.median(times[1:])}, "memory_mb": round(memory, 1)}


def _scrub(file: Path, folder: Path, rounds: int) -> Measured:
    return scrub.measure(file, folder, rounds)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--memory", default="1024,2048", show_default=True)
def main(out: Path, rounds: int, memory: str) -> None:
    """Measure what FILE has not yet, and add it."""
    results = Results(out)
    whats = {"audit": _audit, "export": _export, "scrub": _scrub}
    for size in numbers(memory):
        missing = [name for name in whats if not results.has(experiment=name, memory=size)]
        if not missing:
            continue
        with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
            folder = Path(name)
            made = folder / "made.sav"
            audit.synthesise(made, int(_RANDOM * size), int(_COMPRESSIBLE * size), size)
            for what in missing:
                found = whats[what](made, folder, rounds)
                results.add({"experiment": what, "memory": size, "rounds": rounds, **found})


if __name__ == "__main__":
    main()
