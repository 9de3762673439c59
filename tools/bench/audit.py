"""What an audit costs: `python -m tools.bench.audit [FILE]`.

In each round, one after the other: `cat FILE >/dev/null`, the decompression of all LZF records of
FILE with the library the audit uses, in one thread, and `sparc audit FILE`. Prints medians and
ratio = audit / (cat + decompression). `others_cpus` is how many CPUs other programs kept busy
during each audit: above 0.2, a round says little.

The target is a ratio of at most 4 with at most 300 MB of memory for all processes of the audit
together. Without FILE, a state of a 1 GB VM with 700 MB of random data is written first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import lzf

from sparc.sav import c_ssm
from sparc.sav.record import record_size
from sparc.sav.state import SavedState
from tools.bench.savwriter import PAGE, SavWriter

__all__ = ["MB", "busy", "decompression", "peak_memory", "synthesise", "timed"]

MB = 1 << 20
RATIO, MEMORY = 4.0, 300


def synthesise(path: Path, random_mb: int, compressible_mb: int, ram_mb: int) -> None:
    """Write the saved state of a VM with so much RAM, the rest of it zero."""
    rng = random.Random(1)
    words = [rng.randbytes(12).hex().encode() for _ in range(500)]
    with path.open("wb", buffering=MB) as file:
        writer = SavWriter(file)
        writer.unit("SSM", b"Build Type")
        writer.begin("pgm", 1, 14)
        writer.pgm_fixed(2)
        writer.pgm_config(ram_mb * MB, mmio2=[("VRam", MB)])
        for page in range(ram_mb * MB // PAGE):
            if page < random_mb * MB // PAGE:
                writer.ram(page, os.urandom(PAGE))
            elif page < (random_mb + compressible_mb) * MB // PAGE:
                writer.ram(page, b" ".join(rng.choices(words, k=170))[:PAGE].ljust(PAGE, b"\0"))
            else:
                writer.ram(page, None)
        writer.pgm_end()
        writer.finish()


def decompression(path: str) -> tuple[int, float]:
    """Decompress every compressed page: returns (how many, seconds in the library alone)."""
    count, seconds = 0, 0.0
    with SavedState(path) as state:
        index = state.memory.index
        batch: list[bytes] = []
        for offset, pages in zip(index.offset, index.count, strict=True):
            if not offset or pages > 1:
                continue
            data = state.stored(offset, PAGE + 8)
            if data[0] & 0x0F != c_ssm.REC_LZF:
                continue
            size, digits = record_size(data, 1)
            batch.append(data[2 + digits : 1 + digits + size])
            if len(batch) == 4096:
                count, seconds = count + len(batch), seconds + _unpack(batch)
                batch.clear()
    return count + len(batch), seconds + _unpack(batch)


def _unpack(batch: list[bytes]) -> float:
    started = time.perf_counter()
    for data in batch:
        lzf.decompress(data, PAGE)
    return time.perf_counter() - started


def timed(command: list[str]) -> float:
    """Seconds that a command took; 0 and 1 are good ends for it."""
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{command[0]} ended with status {done.returncode}")
    return time.perf_counter() - started


def busy() -> tuple[float, float]:
    """CPU seconds spent so far by everybody on this machine, and by our ended children."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
    spent = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent, own.ru_utime + own.ru_stime


def _tree(pid: int) -> set[int]:
    """A process and all its descendants."""
    found = {pid}
    for entry in sorted(int(e.name) for e in Path("/proc").iterdir() if e.name.isdigit()):
        with contextlib.suppress(OSError):
            parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) in found:
                found.add(entry)
    return found


def peak_memory(command: list[str]) -> float:
    """The most memory all processes of a command had at one time, in MB: the sum of their RSS.

    What processes share counts several times in it, and so does the file where it is mapped.
    """
    most = 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    ended = threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.001):
            total = 0
            for pid in _tree(process.pid):
                with contextlib.suppress(OSError, IndexError):
                    total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            most = max(most, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    return most * os.sysconf("SC_PAGE_SIZE") / MB


def measure(file: str, secrets: str, rounds: int) -> dict[str, object]:
    """All rounds, in this order each time so that no part has a warmer cache."""
    audit = [sys.executable, "-m", "sparc.cli", "audit", file, "--secret-file", secrets]
    times: dict[str, list[float]] = {"cat": [], "lzf": [], "audit": []}
    timed(["cat", file])
    pages = 0
    others: list[float] = []
    for _ in range(rounds):
        times["cat"].append(timed(["cat", file]))
        pages, seconds = decompression(file)
        times["lzf"].append(seconds)
        before = busy()
        times["audit"].append(timed(audit))
        spent, own = (after - start for start, after in zip(before, busy(), strict=True))
        others.append(round(max(spent - own, 0) / times["audit"][-1], 2))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["audit"] / (medians["cat"] + medians["lzf"])
    memory = max(peak_memory(audit) for _ in range(3))
    return {
        "file_mb": round(Path(file).stat().st_size / MB, 1),
        "compressed_pages": pages,
        "secrets": len(Path(secrets).read_bytes().split()),
        "rounds": rounds,
        "median_s": {name: round(value, 4) for name, value in medians.items()},
        "all_s": {name: [round(v, 4) for v in values] for name, values in times.items()},
        "others_cpus": others,
        "ratio": round(ratio, 2),
        "memory_mb": round(memory, 1),
        "load_before": os.getloadavg()[0],
        "met": ratio <= RATIO and memory <= MEMORY,
    }


def run() -> int:
    """The command; 0 if the target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--secrets", type=int, default=10)
    parser.add_argument("--ram", type=int, default=1024, help="MB")
    parser.add_argument("--random", type=int, default=700, help="MB")
    parser.add_argument("--compressible", type=int, default=40, help="MB")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        file = options.file
        if file is None:
            file = str(Path(folder) / "made.sav")
            synthesise(Path(file), options.random, options.compressible, options.ram)
        secrets = Path(folder) / "secrets"
        rng = random.Random()
        secrets.write_text("\n".join(rng.randbytes(10).hex() for _ in range(options.secrets)))
        result = measure(file, str(secrets), options.rounds)
    print(json.dumps(result, indent=2))
    times = result["median_s"]
    print(
        f"ratio {result['ratio']} (at most {RATIO}), {result['memory_mb']} MB: {times}",
        file=sys.stderr,
    )
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(run())
