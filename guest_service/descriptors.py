"""What processes have open or mapped that others can have too: pipes, sockets, terminals, files.

Run in a child of the service: names of files are read here. Processes that end meanwhile have
nothing.
"""

from __future__ import annotations

import os
import stat

from guest_service import processes

__all__ = ["Held", "Holder", "device", "read"]

_PTMX = (5, 2)
_OWN_TERMINAL = (5, 0)
_PTS = 136
_WRITING = os.O_WRONLY | os.O_RDWR
_MEMORY = ("/memfd:", "/SYSV", "/dev/zero (deleted)", "/dev/shm/")


class Held:
    """One end of something: `kind` is pipe, unix, network, terminal, memory or file.

    `where` is below the process's folder in /proc: fd/NUMBER, or maps/START in hex; "" for the
    controlling terminal. `words` tells more, where that is no secret.
    """

    __slots__ = ("kind", "where", "words")

    def __init__(self, kind: str, where: str, words: str = "") -> None:
        self.kind = kind
        self.where = where
        self.words = words


_Key = tuple[object, ...]


class Holder:
    """A process with what it holds, and, for files that it only reads, reaches."""

    __slots__ = ("held", "pid", "reached", "sockets")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.held: dict[_Key, Held] = {}
        self.reached: dict[_Key, Held] = {}
        self.sockets: dict[int, str] = {}


def device(number: int) -> tuple[int, int]:
    """Major and minor of a device as /proc/PID/stat writes it."""
    return number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00


def _terminals() -> set[int]:
    """Major numbers of terminals."""
    found = set()
    try:
        with open("/proc/tty/drivers", "rb") as file:
            for line in file:
                found.add(int(line.split()[-3]))
    except (OSError, ValueError, IndexError):
        pass
    return found or {4, 5, _PTS}


def _memory_devices() -> set[int]:
    found = set()
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            before, _, after = line.partition(b" - ")
            if after.startswith((b"tmpfs ", b"devtmpfs ", b"ramfs ", b"hugetlbfs ")):
                major, _, minor = before.split()[2].partition(b":")
                found.add(os.makedev(int(major), int(minor)))
    return found


class _Reader:
    def __init__(self) -> None:
        self._terminals = _terminals()
        self._memory = _memory_devices()

    def read(self, process: processes.Process, *, terminals: bool) -> Holder:
        holder = Holder(process.pid)
        if process.tty:
            self._note_terminal(holder, *device(process.tty), "")
        folder = f"/proc/{process.pid}"
        try:
            numbers = os.listdir(f"{folder}/fd")
        except OSError:
            numbers = []
        for number in numbers:
            try:
                status = os.stat(f"{folder}/fd/{number}")
                if not terminals or stat.S_ISCHR(status.st_mode):
                    self._note_open(holder, folder, number, status)
            except OSError:
                continue
        if not terminals:
            self._note_mapped(holder, folder)
        return holder

    def _note_open(self, holder: Holder, folder: str, number: str, status: os.stat_result) -> None:
        where, mode = f"fd/{number}", status.st_mode
        if stat.S_ISFIFO(mode):
            holder.held["pipe", status.st_dev, status.st_ino] = Held("pipe", where)
        elif stat.S_ISSOCK(mode):
            holder.sockets[status.st_ino] = where
            holder.held["socket", status.st_ino] = Held("socket", where)
        elif stat.S_ISCHR(mode):
            number_of = os.major(status.st_rdev), os.minor(status.st_rdev)
            if number_of == _PTMX:
                index = _info(folder, number, b"tty-index:")
                if index is not None:
                    self._note_terminal(holder, _PTS, int(index), where)
            elif number_of[0] in self._terminals and number_of != _OWN_TERMINAL:
                self._note_terminal(holder, *number_of, where)
        elif stat.S_ISREG(mode):
            flags = _info(folder, number, b"flags:")
            writes = flags is None or bool(int(flags, 8) & _WRITING)
            kind = self._kind(status.st_dev, os.readlink(f"{folder}/{where}"))
            self._note_file(holder, ("file", status.st_dev, status.st_ino), kind, where, writes)

    def _note_terminal(self, holder: Holder, major: int, minor: int, where: str) -> None:
        words = f"pts/{minor}" if major == _PTS else f"{major}:{minor}"
        if major == 4:
            words = f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
        holder.held.setdefault(("terminal", major, minor), Held("terminal", where, words))

    def _note_mapped(self, holder: Holder, folder: str) -> None:
        try:
            with open(f"{folder}/maps", "rb") as file:
                lines = [line.split(None, 5) for line in file if b"s " in line[:60]]
        except OSError:
            return
        for fields in lines:
            # Four letters of rights, the last of them s for what is shared.
            if fields[1][3:] != b"s" or len(fields) < 6:
                continue
            major, _, minor = fields[3].partition(b":")
            of, inode = os.makedev(int(major, 16), int(minor, 16)), int(fields[4])
            name = os.fsdecode(fields[5].strip())
            key: _Key = ("file", of, inode)
            if name.startswith("/SYSV"):  # its number is the segment's, not an inode's
                key = ("segment", inode)
            where = f"maps/{fields[0].partition(b'-')[0].decode()}"
            kind = self._kind(of, name)
            if _is_device(name):
                continue
            self._note_file(holder, key, kind, where, kind == "memory" or b"w" in fields[1])

    def _note_file(self, holder: Holder, key: _Key, kind: str, where: str, writes: bool) -> None:
        # Two who only read tell each other nothing.
        (holder.held if writes else holder.reached).setdefault(key, Held(kind, where))

    def _kind(self, device: int, name: str) -> str:
        memory = device in self._memory or name.startswith(_MEMORY)
        return "memory" if memory else "file"


def _is_device(name: str) -> bool:
    """Whether the file of a mapping is a device or some such, whose memory is no page cache."""
    return name.startswith(("anon_inode:", "/dev/")) and not name.startswith(_MEMORY)


def _info(folder: str, number: str, field: bytes) -> bytes | None:
    """A field of /proc/PID/fdinfo/NUMBER."""
    with open(f"{folder}/fdinfo/{number}", "rb") as file:
        for line in file:
            if line.startswith(field):
                return line[len(field) :].strip()
    return None


def read(*, terminals: bool = False) -> list[Holder]:
    """All processes but kernel threads, and what they have; or only their `terminals`."""
    reader = _Reader()
    found = []
    for process in map(processes.read, processes.pids()):
        if process is not None and not process.is_kernel_thread and process.state not in "ZX":
            found.append(reader.read(process, terminals=terminals))
    return found
