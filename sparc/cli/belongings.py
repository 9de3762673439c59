"""What a process has open, by its name: read here, so that no name stays in the service's memory.

What may not be read, or is gone by now, has none.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["lost", "name"]

_IN_MEMORY = {"tmpfs", "devtmpfs", "ramfs", "hugetlbfs"}


def name(pid: int, where: str) -> str:
    """The name of what stands at `where`, see guest_service.descriptors.Held; perhaps ""."""
    with suppress(OSError):
        if where.startswith("fd/"):
            return str(Path(f"/proc/{pid}/{where}").readlink())
        start = where.removeprefix("maps/")
        for line in _lines(f"/proc/{pid}/maps"):
            fields = line.split(None, 5)
            if fields[0].startswith(f"{start}-") and len(fields) > 5:
                return fields[5]
    return ""


def lost(pid: int) -> int:
    """How many of its open files are nowhere but in memory: deleted ones, and those in tmpfs."""
    found = set()
    with suppress(OSError):
        devices = _devices()
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                status = link.stat()
                gone = not status.st_nlink or status.st_dev in devices
                if stat.S_ISREG(status.st_mode) and gone:
                    found.add((status.st_dev, status.st_ino))
    return len(found)


def _devices() -> set[int]:
    found = set()
    for line in _lines("/proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        if after.split()[0] in _IN_MEMORY:
            major, minor = before.split()[2].split(":")
            found.add(os.makedev(int(major), int(minor)))
    return found


def _lines(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "surrogateescape").splitlines()
