"""What the kernel tells of swap."""

from __future__ import annotations

import os

__all__ = ["Area", "areas", "swapped_out"]

_ESCAPES = {"\\040": " ", "\\011": "\t", "\\012": "\n", "\\134": "\\"}


class Area:
    """A line of /proc/swaps. `used` in KiB."""

    __slots__ = ("path", "priority", "used")

    def __init__(self, path: str, used: int, priority: int) -> None:
        self.path = path
        self.used = used
        self.priority = priority


def areas(table: str = "/proc/swaps") -> list[Area]:
    """What is on, that of the highest priority first."""
    found = []
    try:
        with open(table, "rb") as file:
            next(file, None)
            for line in file:
                path, _, _, used, priority = os.fsdecode(line).rsplit(None, 4)
                for escaped, plain in _ESCAPES.items():
                    path = path.replace(escaped, plain)
                found.append(Area(path, int(used), int(priority)))
    except FileNotFoundError:  # a kernel without swap
        pass
    return sorted(found, key=lambda area: -area.priority)


def swapped_out() -> int:
    """How many pages have been swapped out since the machine started, wherever to."""
    count = 0
    with open("/proc/vmstat", "rb") as file:
        for line in file:
            name, _, number = line.partition(b" ")
            if name in (b"pswpout", b"zswpout"):
                count += int(number)
    return count
