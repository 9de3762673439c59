"""The memory of a process of the host, and how the kernel keeps each part of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mapping", "count", "mappings", "search"]

_CHUNK = 16 << 20
_LONGEST = 256
_HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r\S+ ")


@dataclass(frozen=True)
class Mapping:
    """Addresses [start, end) that can be read, with the letters of VmFlags in proc(5)."""

    start: int
    end: int
    flags: frozenset[str]


def mappings(pid: int) -> Iterator[Mapping]:
    """What process ``pid`` has mapped and may read."""
    bounds: tuple[int, int] | None = None
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if head := _HEAD.match(line):
            bounds = int(head[1], 16), int(head[2], 16)
        elif line.startswith("VmFlags:") and bounds:
            yield Mapping(*bounds, frozenset(line.split()[1:]))
            bounds = None


def search(pid: int, words: list[bytes]) -> dict[Mapping, Counter[bytes]]:
    """How often each word stands in each mapping; mappings with none are left out."""
    found = {}
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for mapping in mappings(pid):
            here: Counter[bytes] = Counter()
            for at in range(mapping.start, mapping.end, _CHUNK):
                size = min(_CHUNK + _LONGEST, mapping.end - at)
                try:
                    memory.seek(at)
                    here += _count(memory.read(size), words)
                except (OSError, OverflowError):
                    # What no file is behind any more, or the kernel's own.
                    continue
            if here:
                found[mapping] = here
    return found


def count(file: Path, words: list[bytes]) -> Counter[bytes]:
    """How often each word stands in a file."""
    found: Counter[bytes] = Counter()
    with file.open("rb") as content:
        size = file.stat().st_size
        for at in range(0, size, _CHUNK):
            content.seek(at)
            found += _count(content.read(_CHUNK + _LONGEST), words)
    return found


def _count(content: bytes, words: list[bytes]) -> Counter[bytes]:
    """How often each word begins in the first chunk of ``content``."""
    pattern = re.compile(b"|".join(map(re.escape, words)))
    return Counter(hit[0] for hit in pattern.finditer(content) if hit.start() < _CHUNK)
