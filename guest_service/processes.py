"""Processes as /proc shows them. A process that ends while one looks is None, never an error."""

from __future__ import annotations

import os

from sparc.printable import printable

__all__ = ["Process", "cgroup_of", "clean", "pids", "program_of", "read", "uids_of"]

# From the kernel's include/linux/sched.h.
_KERNEL_THREAD = 0x00200000


class Process:
    """A line of /proc/PID/stat. `tty` is its terminal's number or 0, `start` is in ticks.

    `name` is at most 15 bytes, chosen by the process itself: it may hold anything.
    """

    __slots__ = ("flags", "name", "parent", "pid", "start", "state", "tty")

    def __init__(self, line: bytes) -> None:
        # The name may hold spaces and parentheses: it ends at the last one.
        head, _, rest = line.rpartition(b") ")
        pid, _, self.name = head.partition(b" (")
        fields = rest.split()
        self.pid = int(pid)
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.tty = int(fields[4])
        self.flags = int(fields[6])
        self.start = int(fields[19])

    @property
    def is_kernel_thread(self) -> bool:
        """Whether it runs in the kernel alone."""
        return bool(self.flags & _KERNEL_THREAD)


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        parts = []
        while part := os.read(fd, 8192):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


def read(pid: int) -> Process | None:
    """A process or thread by its number."""
    line = _read(f"/proc/{pid}/stat")
    return Process(line) if line else None


def pids() -> list[int]:
    """All processes, kernel threads too."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def uids_of(pid: int) -> tuple[int, ...] | None:
    """Real, effective, saved and file-system user id."""
    # Not splitlines: a process may have a name with \r in it, and "Uid:" after that.
    for line in (_read(f"/proc/{pid}/status") or b"").split(b"\n"):
        if line.startswith(b"Uid:"):
            return tuple(int(uid) for uid in line.split()[1:])
    return None


def program_of(pid: int) -> bytes | None:
    """The file name, without folders, of the program it runs; None for kernel threads too."""
    try:
        path = os.readlink(f"/proc/{pid}/exe".encode())
    except OSError:
        return None
    return path.removesuffix(b" (deleted)").rpartition(b"/")[2]


def cgroup_of(pid: int | str) -> str | None:
    """Its cgroup of version 2 as a path from that hierarchy's root: "/" or "/a/b"."""
    for line in (_read(f"/proc/{pid}/cgroup") or b"").split(b"\n"):
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:]).removesuffix(" (deleted)")
    return None


def clean(name: bytes) -> str:
    """A name for people and logs."""
    return printable(name.decode(errors="backslashreplace"))
