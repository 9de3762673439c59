"""What a scrub costs: `python -m tools.bench.scrub [FILE]`.

In each round, one after the other and with FILE in the page cache:

- `cp`: `cp FILE COPY`, which is over when all is in the page cache;
- `durable`: the same and `sync COPY`, which is over when all is on the disk;
- `rewrite`: reading FILE, verifying it, and writing it anew without every second page, to where cp
  wrote to; what `sparc scrub` does besides is to read that again and what follows;
- `command`: `sparc scrub COPY` for 10,000 pages: rewritten, read again and verified, on the disk,
  put in place, and the old blocks overwritten, on the disk too;
- `secrets`: the same and ten secrets, for which the file is searched before and after.

Prints medians and `ratio` = rewrite / cp. The target is at most 3. `others_cpus` is how many CPUs
other programs kept busy during each rewrite: above 0.2, a round says little. Without FILE, a state
of a 1 GB VM with 700 MB of random data is written first.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sparc.sav.changes import Changes
from sparc.sav.splice import splice
from sparc.sav.state import SavedState
from tools.bench.audit import MB, busy, peak_memory, synthesise, timed

__all__ = ["measure"]

RATIO = 3.0


def rewrite(file: Path, out: Path) -> None:
    """Write `file` without every second page of RAM to `out`."""
    fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with SavedState(file) as state:
            changes = Changes(state)
            changes.blank(state.index.pages()[::2])
            splice(state, changes.edits(), fd)
    finally:
        os.close(fd)


def _seconds(what: Callable[[], object]) -> float:
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


def measure(file: Path, folder: Path, rounds: int) -> dict[str, object]:
    """All rounds, in this order each time."""
    copy, secrets = folder / "copy.sav", folder / "secrets"
    rng = random.Random()
    secrets.write_text("\n".join(rng.randbytes(10).hex() for _ in range(10)))
    with SavedState(file) as state:
        some = ",".join(map(str, state.index.pages()[:20000:2].tolist()))
    scrub = [sys.executable, "-m", "sparc.cli", "scrub", str(copy), "--page", some]
    commands = {"command": scrub, "secrets": [*scrub, "--secret-file", str(secrets)]}
    steps = ("cp", "durable", "rewrite", "command", "secrets")
    times: dict[str, list[float]] = {step: [] for step in steps}
    others: list[float] = []
    timed(["cat", str(file)])
    for _ in range(rounds):
        times["cp"].append(timed(["cp", str(file), str(copy)]))
        copy.unlink()
        times["durable"].append(
            timed(["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(file), str(copy)])
        )
        copy.unlink()
        before = busy()
        times["rewrite"].append(_seconds(lambda: rewrite(file, copy)))
        spent = busy()[0] - before[0] - times["rewrite"][-1]
        others.append(round(max(spent, 0) / times["rewrite"][-1], 2))
        for step, command in commands.items():
            timed(["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(file), str(copy)])
            times[step].append(timed(command))
        copy.unlink()
    timed(["cp", str(file), str(copy)])
    memory = peak_memory(scrub)
    medians = {step: statistics.median(values) for step, values in times.items()}
    ratio = medians["rewrite"] / medians["cp"]
    return {
        "file_mb": round(file.stat().st_size / MB, 1),
        "rounds": rounds,
        "median_s": {step: round(value, 3) for step, value in medians.items()},
        "all_s": {step: [round(v, 3) for v in values] for step, values in times.items()},
        "others_cpus": others,
        "ratio": round(ratio, 2),
        "memory_mb": round(memory, 1),
        "load_before": os.getloadavg()[0],
        "met": ratio <= RATIO,
    }


def run() -> int:
    """The command; 0 if the target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--ram", type=int, default=1024, help="MB")
    parser.add_argument("--random", type=int, default=700, help="MB")
    parser.add_argument("--compressible", type=int, default=40, help="MB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        file = options.file
        if file is None:
            file = folder / "made.sav"
            synthesise(file, options.random, options.compressible, options.ram)
        result = measure(file, folder, options.rounds)
    print(json.dumps(result, indent=2))
    print(f"ratio {result['ratio']} (at most {RATIO}): {result['median_s']}", file=sys.stderr)
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(run())
