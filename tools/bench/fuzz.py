"""Feeds damaged saved states to the reader: `python -m tools.bench.fuzz --count 100000`.

Each case is a saved state with one to four changes, from the place where a liar would make them:
header fields, units, records and their lengths, page records, configuration, directory, footer.
Most are written out with every checksum and offset made right again, so that the change is
reached; the others are cut, flipped or spliced as bytes. What must hold for each is in `check`.
A case is made from (seed, number) alone: `--only NUMBER` runs one again and keeps its file.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import io
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

from sparc.audit import matcher
from sparc.cli.main import main
from tools.bench.mutate import Model, flip, mutate
from tools.bench.savwriter import PAGE, SavWriter

__all__ = ["Fuzzer", "bases"]

SECRET = b"fuzz-secret-7f3a9c"
SECONDS = 30
# A case may take this much; the interpreter with all libraries and the windows is some 70 MB.
MEGABYTES = 260
SAMPLES = Path(__file__).parents[2] / "tests" / "unit" / "data"


def _small(*, live: bool, stream_crc: bool) -> bytes:
    """A saved state with one page or more of every kind, and something compressed."""
    rng = random.Random(7)
    writer = SavWriter(live=live, stream_crc=stream_crc)
    roms = [("BIOS", 0xF0000, 2 * PAGE), ("shadowed", 0xE0000, PAGE)]

    def pages(first: int) -> None:
        for kind, prot in ((4, 1), (5, 1), (6, 1), (7, 2)):
            writer.ranged(kind, 1, 0, rng.randbytes(PAGE) if kind in (4, 5) else None, prot)
        for page in range(4):
            writer.ranged(2, 1, page, bytes([page + 1]) * PAGE)
        writer.ranged(3, 1, 4, None)
        for page in range(first, 64):
            data = rng.randbytes(PAGE) if page % 7 < 3 else bytes([page]) * PAGE
            if page == 21:
                data = gzip.compress(bytes(100_000) + SECRET).ljust(PAGE, b"\0")
            writer.ram(page, None if page % 7 == 6 else data)
        writer.ballooned(64)
        for page in (0x100000, 0x100001):  # above 4 GiB
            writer.ram(page, rng.randbytes(PAGE))

    memory = (4 << 30) - (512 << 20) + 2 * PAGE
    if live:
        writer.begin("pgm", 1, 14, 0)
        writer.pgm_config(memory, 512 << 20, roms, [("VRam", 8 * PAGE)])
        pages(0)
        writer.pgm_end()
    writer.unit("SSM", b"\x0a\0\0\0Build Type" + bytes(9))
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed(2)
    if not live:
        writer.pgm_config(memory, 512 << 20, roms, [("VRam", 8 * PAGE)])
    pages(32 if live else 0)
    writer.pgm_end()
    png = b"\x89PNG\r\n\x1a\n"
    for kind, data in (
        (b"IHDR", bytes(13)),
        (b"IDAT", zlib.compress(rng.randbytes(9000))),
        (b"IEND", b""),
    ):
        png += len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    writer.unit("DisplayScreenshot", bytes(300) + png)
    writer.unit("piix3ide", gzip.compress(rng.randbytes(5000)) + bytes(9000))
    return writer.finish()


def bases() -> list[bytes]:
    """What is mutated: states of our own making, and real ones."""
    made = [_small(live=live, stream_crc=crc) for live in (False, True) for crc in (True, False)]
    real = [path.read_bytes() for path in sorted(SAMPLES.glob("*.sav"))]
    # Three of four cases start from the small ones: they are read ten times as fast.
    return made * 3 + real


class Fuzzer:
    """Makes case after case in one file and runs the command line on it, in this process."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.file = folder / "case.sav"
        self.secrets = folder / "secrets"
        self.secrets.write_bytes(SECRET + b"\n")
        self.out = folder / "out"
        # hyperscan 0.9.1 leaks 2 KB with each database, which would hide a leak of our own.
        matcher.database = functools.lru_cache(8)(matcher.database)
        self.bases = bases()
        self.models = [Model.parse(base) for base in self.bases]
        self.statuses = {0: 0, 1: 0, 2: 0}
        self.slowest = 0.0

    def make(self, number: int) -> tuple[bytes, bool]:
        """The bytes of a case, and whether they were changed behind the checksums' back."""
        rng = random.Random(f"{self.seed}:{number}")
        which = rng.randrange(len(self.bases))
        if rng.random() < 0.25:
            data = flip(self.bases[which], rng)
            return data, data != self.bases[which] and bool(self.bases[which][52] & 1)
        return mutate(self.models[which], self.models, rng), False

    def case(self, number: int) -> list[str]:
        """Run a case; returns what does not hold."""
        data, unfixed = self.make(number)
        self.file.write_bytes(data)
        wrong = []
        commands = [["sav", "info", str(self.file)]]
        commands.append(["audit", str(self.file), "--secret-file", str(self.secrets)])
        if number % 8 == 0:
            form = ("raw", "elf")[number // 8 % 2]
            commands.append(["sav", "export", str(self.file), str(self.out), "--format", form])
        for command in commands:
            started = time.monotonic()
            status, out, err = _run(command)
            took = time.monotonic() - started
            self.slowest = max(self.slowest, took)
            wrong += [f"{' '.join(command[:2])}: {w}" for w in check(status, out, err, unfixed)]
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if took > SECONDS:
                wrong.append(f"{command[:2]} took {took:.1f} s")
        self.out.unlink(missing_ok=True)
        return wrong


def check(status: int, out: str, err: str, unfixed: bool) -> list[str]:
    """What must hold whatever the file is; returns what does not."""
    wrong = []
    if status not in (0, 1, 2):
        wrong.append(f"exit status {status}")
    if status == 2 and (err.count("\n") != 1 or not err.startswith("sparc: ")):
        wrong.append(f"not one clear line: {err[:2000]!r}")
    if status != 2 and err:
        wrong.append(f"exit status {status}, but a message: {err[:200]!r}")
    if "internal error" in err:
        wrong.append("an exception that nobody had thought of")
    if unfixed and status != 2:
        wrong.append("changed behind the checksums' back, and not noticed")
    if SECRET.decode() in out + err:
        wrong.append("the secret was printed")
    return wrong


# The same two all the time: click keeps every stream that it has ever written to.
_OUT, _ERR = io.StringIO(), io.StringIO()


def _run(command: list[str]) -> tuple[int, str, str]:
    for stream in (_OUT, _ERR):
        stream.seek(0)
        stream.truncate()
    with contextlib.redirect_stdout(_OUT), contextlib.redirect_stderr(_ERR):
        try:
            main(command)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 99
        except BaseException:
            _ERR.write(traceback.format_exc())
            status = 98
    return status, _OUT.getvalue(), _ERR.getvalue()


def _hung(*_: object) -> None:
    raise TimeoutError("hangs")


def _worker(seed: int, numbers: range) -> dict[str, object]:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    failures: list[tuple[int, list[str]]] = []
    signal.signal(signal.SIGALRM, _hung)
    with tempfile.TemporaryDirectory(dir=base) as folder:
        fuzzer = Fuzzer(seed, Path(folder))
        early = 0
        for count, number in enumerate(numbers):
            signal.alarm(4 * SECONDS)
            if wrong := fuzzer.case(number):
                failures.append((number, wrong))
            signal.alarm(0)
            if count == len(numbers) // 2:
                early = _rss()
    return {
        "cases": len(numbers),
        "failures": failures,
        "statuses": fuzzer.statuses,
        "slowest_s": fuzzer.slowest,
        "rss_half_mb": early,
        "rss_end_mb": _rss(),
        "rss_peak_mb": _peak(resource.RUSAGE_SELF),
        "rss_peak_helper_mb": _peak(resource.RUSAGE_CHILDREN),
    }


def _peak(who: int) -> int:
    return resource.getrusage(who).ru_maxrss // 1024


def _rss() -> int:
    """Memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="run one case and keep its file as case.sav")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def run() -> int:
    """The command; 0 if everything held for every case."""
    options = _options()
    if options.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            fuzzer = Fuzzer(options.seed, Path(folder))
            Path("case.sav").write_bytes(fuzzer.make(options.only)[0])
            print(fuzzer.case(options.only) or "holds")
        return 0
    if options.worker is not None:
        numbers = range(options.worker, options.count, options.jobs)
        print(json.dumps(_worker(options.seed, numbers)))
        return 0
    started = time.monotonic()
    command = [sys.executable, "-m", "tools.bench.fuzz", *sys.argv[1:]]
    command += ["--jobs", str(options.jobs), "--worker"]
    workers = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True)
        for i in range(options.jobs)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        print("a worker died", file=sys.stderr)
        return 1
    results = [json.loads(output) for output in outputs]
    failures = sorted(f for r in results for f in r["failures"])
    for number, wrong in failures[:50]:
        print(f"case {number}: {'; '.join(wrong)}")
    peak = max(r["rss_peak_mb"] for r in results)
    growth = max(r["rss_end_mb"] - r["rss_half_mb"] for r in results)
    print(
        json.dumps(
            {
                "cases": sum(r["cases"] for r in results),
                "failures": len(failures),
                "seconds": round(time.monotonic() - started, 1),
                "jobs": options.jobs,
                "exit_statuses": {s: sum(r["statuses"].get(s, 0) for r in results) for s in "012"},
                "slowest_command_s": round(max(r["slowest_s"] for r in results), 2),
                "rss_peak_mb": peak,
                "rss_growth_mb": growth,
                "rss_peak_helper_mb": max(r["rss_peak_helper_mb"] for r in results),
            },
            indent=2,
        )
    )
    return 1 if failures or peak > MEGABYTES or growth > 30 else 0


if __name__ == "__main__":
    sys.exit(run())
