"""Where secrets stand in a checkpoint, and what the guest's kernel uses those pages for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparc_lab.machine import Machine

from tools.demo.screen import written

__all__ = ["USES", "Finding", "audit", "count"]

_PROCESS = "memory of a process"
_KERNEL = "the kernel: terminals, buffers"
_FILES = "the kernel: cached files"
_SCREEN = "the screen"
_FREE = "free memory"
_DEVICE = "other devices"
USES = (_PROCESS, _KERNEL, _FILES, _FREE, _SCREEN, _DEVICE)
"""What counts are made of, in a table's order."""

_PAGE_BYTES = 4096
# The use of a page by its flags in /proc/kpageflags (Linux, admin-guide/mm/pagemap).
_BITS = ((10, _FREE), (7, _KERNEL), (12, _PROCESS), (5, _FILES))


@dataclass(frozen=True)
class Finding:
    """One occurrence: of which secret (from 0), and at which address of what."""

    secret: int
    place: str
    name: str
    address: int


def audit(path: Path, secrets: Sequence[str]) -> list[Finding]:
    """Every place of the secrets in a saved state; ends the program if it cannot be read whole."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sparc")), "audit", "--json", str(path)],
        input="\n".join(secrets),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"demo: the saved state could not be read whole: {done.stderr.strip()}")
    found = [
        Finding(one["secret"] - 1, one["place"], one.get("name", ""), one["address"])
        for one in json.loads(done.stdout)["findings"]
    ]
    # As VirtualBox's adapter lays out text, the audit does not know it.
    return found + [Finding(secret, "vga", "vga", at) for secret, at in written(path, secrets)]


def count(machine: Machine, findings: Iterable[Finding]) -> Counter[str]:
    """How many there are of each use, in a checkpoint that was taken a moment ago."""
    counts: Counter[str] = Counter()
    pages: Counter[int] = Counter()
    for one in findings:
        if one.place == "ram":
            pages[one.address // _PAGE_BYTES] += 1
        else:
            counts[_SCREEN if "vga" in one.name.lower() else _DEVICE] += 1
    for use, page in zip(_uses(machine, sorted(pages)), sorted(pages), strict=True):
        counts[use] += pages[page]
    return counts


def _uses(machine: Machine, pages: list[int]) -> list[str]:
    if not pages:
        return []
    read = "dd if=/proc/kpageflags bs=8 skip=$pfn count=1 status=none"
    numbers = " ".join(str(page) for page in pages)
    words = machine.shell(f"for pfn in {numbers}; do {read}; done | od -An -v -tu8").text.split()
    return [_use(int(flags)) for flags in words]


def _use(flags: int) -> str:
    return next((use for bit, use in _BITS if flags >> bit & 1), _KERNEL)
