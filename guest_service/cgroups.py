"""Control groups, version 2: files of the kernel's interface, with no policy."""

from __future__ import annotations

import errno
import os

__all__ = ["Group", "children", "members", "mount_point", "move"]

_GONE = (errno.ENOENT, errno.ENODEV)
# Of a threaded group: the group above it lists the processes.
_NOBODY = (*_GONE, errno.EOPNOTSUPP)


def mount_point(table: str = "/proc/self/mountinfo") -> str | None:
    """Where the version 2 hierarchy is mounted: alone, or beside version 1."""
    with open(table, "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            fields = before.split()
            # Its root, that is: not a part of it seen through a bind mount.
            if after.startswith(b"cgroup2 ") and fields[3] == b"/":
                return os.fsdecode(fields[4].replace(b"\\040", b" "))
    return None


def children(path: str) -> list[str]:
    """The paths of the groups right below a group; none if it is gone."""
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in _GONE:
            return []
        raise


def members(path: str, file: str = "cgroup.procs") -> list[int]:
    """The processes in a group itself, or with "cgroup.threads" the threads; none if it is gone."""
    try:
        with open(f"{path}/{file}", "rb") as listed:
            return [int(line) for line in listed]
    except OSError as error:
        if error.errno in _NOBODY:
            return []
        raise


def move(pid: int, path: str) -> bool:
    """Put a process with all its threads into a group; False if it has ended.

    Raises OSError: the group is gone, or the process cannot be moved.
    """
    fd = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d" % pid)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


class Group:
    """A group whose freezer is at hand: its files stay open."""

    __slots__ = ("events_file", "freeze_file", "path")

    def __init__(self, path: str) -> None:
        """Raises OSError when it is gone."""
        self.path = path
        self.freeze_file = os.open(f"{path}/cgroup.freeze", os.O_RDWR | os.O_CLOEXEC)
        try:
            self.events_file = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self.freeze_file)
            raise

    def close(self) -> None:
        """Whether it is frozen stays as it is. From now on it is `gone`."""
        os.close(self.freeze_file)
        os.close(self.events_file)
        self.freeze_file = self.events_file = -1

    def freeze(self) -> None:
        """Tell all in it to stand still, soon. Raises OSError when it is gone."""
        os.pwrite(self.freeze_file, b"1", 0)

    def thaw(self) -> None:
        """Let all in it go on. Raises OSError when that failed; a group that is gone has nobody."""
        try:
            os.pwrite(self.freeze_file, b"0", 0)
        except OSError:
            if not self.gone:
                raise

    @property
    def gone(self) -> bool:
        """Whether it was removed; another one may have its name by now."""
        try:
            os.pread(self.freeze_file, 1, 0)
        except OSError:
            return True
        return False

    @property
    def told_to_freeze(self) -> bool:
        """Whether somebody wants it frozen. Raises OSError when it is gone."""
        return os.pread(self.freeze_file, 1, 0) == b"1"

    @property
    def still(self) -> bool:
        """Whether nothing in it runs: all are frozen, or it is gone. `events_file` can be polled
        for POLLPRI after that."""
        try:
            return b"frozen 1" in os.pread(self.events_file, 256, 0)
        except OSError:
            return True
