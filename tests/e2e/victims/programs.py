"""The victim programs of the guest, and the secrets that they make from a seed."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = [
    "CLASSES",
    "CONTROL_RUNS",
    "LETTERS",
    "LET_GO_BEFORE",
    "MAY_BE_GONE",
    "SURVIVORS",
    "TORTURE",
    "TORTURE_CHAPTERS",
    "TORTURE_CLASSES",
    "VICTIMS",
    "secret",
]

VICTIMS = Path(__file__).parent
LETTERS = 24
_MASK = (1 << 64) - 1

# What holder.c keeps its secrets in, by their numbers there.
CLASSES = (
    "heap",
    "freed heap",
    "stack",
    "bss",
    "mmap",
    "huge page",
    "thread stack",
    "argument",
    "environment",
    "child",
    "daemon",
    "unmapped",
    "ended child",
    "registers",
    "private file page",
    "moved mapping",
    "shared since a fork",
)
# The modes of survivor.c.
SURVIVORS = ("memory", "files", "tcp", "pipe")

_TORTURE = VICTIMS / "torture"
TORTURE = sorted(_TORTURE.glob("*.c"), key=lambda path: path.name != "torture.c")
"""The sources of the torture program, the first of which it is called after."""


def _torture_chapters() -> dict[str, tuple[str, ...]]:
    """Names of the classes by chapter, in the order of the numbers of their secrets."""
    files = re.findall(r'#include "(\S+)"', (_TORTURE / "classes.h").read_text())
    return {
        Path(file).stem: tuple(
            re.findall(r'^CLASS\(\w+, "([^"]+)"\)$', (_TORTURE / file).read_text(), re.M)
        )
        for file in files
    }


TORTURE_CHAPTERS = _torture_chapters()
TORTURE_CLASSES = tuple(name for names in TORTURE_CHAPTERS.values() for name in names)

LET_GO_BEFORE = {
    "core file of a process that crashed",
    "file: passed by an outsider, read and closed",
    "file: read and closed",
    "file: written and closed",
    "file: written and closed, mapped by an outsider",
    "file on tmpfs: written and closed",
    "pty: closed with data in it",
    "virtual console: screen, left",
}
"""What a process has closed before it is excluded: nothing tells any more that it had that."""

MAY_BE_GONE = {"kernel stack of threads that ended"}
"""What the kernel itself mostly overwrites: without exclusion it is there on some runs only."""
CONTROL_RUNS = 3
"""In one of so many runs without exclusion, each class of what was freed is there."""


def secret(seed: int, number: int) -> str:
    """The secret of that number; victim.h makes the same, so none passes between host and guest."""
    state = seed + number * 0x100000001B3 & _MASK
    text = ""
    for _ in range(LETTERS):
        state = state + 0x9E3779B97F4A7C15 & _MASK
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        text += chr(ord("a") + (z ^ z >> 31) % 26)
    return text
