"""What the freezer is about to do, on disk before it is done, so that it can be undone."""

from __future__ import annotations

import os

from guest_service import cgroups, processes

__all__ = ["Record", "put_back"]


def put_back(pid: int, start: int, path: str, root: str) -> None:
    """Move a process, if it still lives, back to its group or the nearest one above it."""
    process = processes.read(pid)
    if process is None or process.start != start:
        return
    while True:
        try:
            cgroups.move(pid, path)
            return
        except OSError:
            if path == root:
                return
            path = os.path.dirname(path) if path.startswith(f"{root}/") else root


class Record:
    """A file of lines: "F GROUP" is to be thawed, "M PID START GROUP" to be moved back."""

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags, 0o600)

    def close(self) -> None:
        """What is written stays."""
        os.close(self._fd)

    def freezing(self, paths: list[str]) -> None:
        """Groups about to be frozen."""
        if paths:
            os.write(self._fd, os.fsencode("".join(f"F {path}\n" for path in paths)))

    def moving(self, pid: int, start: int, path: str) -> None:
        """A process about to be moved away from a group."""
        os.write(self._fd, os.fsencode(f"M {pid} {start} {path}\n"))

    def clear(self) -> None:
        """All is undone."""
        os.ftruncate(self._fd, 0)

    def undo(self, root: str) -> dict[int, str]:
        """Thaw and move back all that is written here; which process belonged where."""
        origins = {}
        size = os.fstat(self._fd).st_size
        for line in os.fsdecode(os.pread(self._fd, size, 0)).splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "F":
                _thaw(rest)
            elif kind == "M" and rest.count(" ") >= 2:
                pid, start, path = rest.split(" ", 2)
                origins[int(pid)] = path
                put_back(int(pid), int(start), path, root)
        self.clear()
        return origins


def _thaw(path: str) -> None:
    try:
        group = cgroups.Group(path)
    except OSError:  # gone, with all who were in it
        return
    try:
        group.thaw()
    finally:
        group.close()
