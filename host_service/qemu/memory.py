"""Guest RAM of a VM under QEMU, reached from outside: the files that QEMU shares it through."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from host_service.errors import HostError
from host_service.qemu.monitor import Monitor
from host_service.qemu.processes import QemuProcess

__all__ = ["Backing", "GuestMemory", "NoMemory", "Part", "backings", "parts_of"]

_PAGE = 4096
_PUNCH_HOLE = 0x02 | 0x01
_SECTION = re.compile(
    r"^ +([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\): (\S+)(?: @([0-9a-f]{16}))?", re.M
)
_libc = ctypes.CDLL(None, use_errno=True)


class NoMemory(Exception):
    """There is no RAM at an address."""


@dataclass(frozen=True)
class Part:
    """RAM from `gpa` on stands in the backing `block` from `offset` on; all in bytes."""

    gpa: int
    length: int
    block: str
    offset: int


@dataclass(frozen=True)
class Backing:
    """The file behind one block: an open descriptor, and where the block lies in it.

    `pinned`: whether a device of the host may hold its pages, so that they must stay the same ones.
    """

    fd: int
    offset: int
    size: int
    pinned: bool = False


class GuestMemory:
    """All RAM by guest-physical address. Whoever opens it closes it; descriptors stay open."""

    def __init__(self, parts: list[Part], files: Mapping[str, Backing]) -> None:
        self.parts = sorted(parts, key=lambda part: part.gpa)
        self.files = files
        self._starts = [part.gpa for part in self.parts]
        self.end = max(part.gpa + part.length for part in self.parts)
        self._maps: dict[str, mmap.mmap] = {}
        self._views: dict[str, memoryview] = {}
        for name, file in files.items():
            mapped = mmap.mmap(file.fd, file.size, mmap.MAP_SHARED, offset=file.offset)
            # Not into a core dump of ours.
            mapped.madvise(mmap.MADV_DONTDUMP)
            self._maps[name], self._views[name] = mapped, memoryview(mapped)

    def close(self) -> None:
        """QEMU keeps what is its own."""
        for view in self._views.values():
            view.release()
        for mapped in self._maps.values():
            mapped.close()
        self._maps, self._views = {}, {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def holds(self, gpa: int, length: int) -> bool:
        """Whether all of it is RAM, in one part."""
        at = bisect_right(self._starts, gpa) - 1
        return at >= 0 and gpa + length <= self.parts[at].gpa + self.parts[at].length

    def _find(self, gpa: int, length: int) -> tuple[str, int]:
        if not self.holds(gpa, length):
            raise NoMemory(f"{gpa:#x}")
        part = self.parts[bisect_right(self._starts, gpa) - 1]
        return part.block, part.offset + gpa - part.gpa

    def view(self, gpa: int, length: int) -> memoryview:
        """The guest's own bytes, to be read and written. Raises NoMemory."""
        block, at = self._find(gpa, length)
        return self._views[block][at : at + length]

    def read(self, gpa: int, length: int) -> bytes:
        """A copy. Raises NoMemory."""
        return bytes(self.view(gpa, length))

    def write(self, gpa: int, data: bytes | memoryview) -> None:
        """Overwrite. Raises NoMemory."""
        self.view(gpa, len(data))[:] = data

    def load(self, gpa: int) -> int:
        """An aligned word of 64 bits, never half of one."""
        return self.view(gpa, 8).cast("Q")[0]

    def store(self, gpa: int, word: int) -> None:
        """The same."""
        self.view(gpa, 8).cast("Q")[0] = word

    def runs(self, pages: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Ranges (GPA, bytes), cut where they pass from one part into another."""
        for gpa, length in pages:
            while length:
                if not self.holds(gpa, 1):
                    raise NoMemory(f"{gpa:#x}")
                part = self.parts[bisect_right(self._starts, gpa) - 1]
                count = min(length, part.gpa + part.length - gpa)
                yield gpa, count
                gpa, length = gpa + count, length - count

    def give_back(self, gpa: int, length: int) -> None:
        """Make whole pages zeros by returning their memory to the host; or by overwriting."""
        block, at = self._find(gpa, length)
        file = self.files[block]
        arguments = (_PUNCH_HOLE, ctypes.c_long(file.offset + at), ctypes.c_long(length))
        # Of a part of a huge page, some kernels say that they did it, and did not.
        small = os.fstat(file.fd).st_blksize <= _PAGE and not file.pinned
        if not small or _libc.fallocate(file.fd, *arguments):
            self.clear(gpa, length)

    def clear(self, gpa: int, length: int) -> None:
        """Make it zeros where it stands."""
        view = self.view(gpa, length)
        for at in range(0, length, len(_ZEROS)):
            piece = view[at : at + len(_ZEROS)]
            piece[:] = _ZEROS[: len(piece)]


_ZEROS = memoryview(bytes(1 << 20))


def parts_of(monitor: Monitor, blocks: Mapping[str, object]) -> list[Part]:
    """Where each of these blocks appears to the guest's processors, as RAM."""
    views = monitor.human("info mtree -f").split("FlatView #")
    for view in views:
        if '\n AS "memory"' not in view:
            continue
        parts = []
        for first, last, name, offset in _SECTION.findall(view):
            block = name.rpartition("/")[2]
            if block in blocks:
                gpa = int(first, 16)
                parts.append(Part(gpa, int(last, 16) + 1 - gpa, block, int(offset or "0", 16)))
        return parts
    return []


@contextlib.contextmanager
def backings(monitor: Monitor, process: QemuProcess) -> Iterator[dict[str, Backing]]:
    """The files of the VM's RAM, open until the end.

    Raises:
        HostError: not all of it is shared, or it cannot be opened.
    """
    found: dict[str, Backing] = {}
    with contextlib.ExitStack() as stack:
        devices = {str(one.get("id", "")): one for one in monitor.ask("query-memdev")}
        used = {part.block for part in parts_of(monitor, devices)}
        for name in sorted(used):
            device, size = devices[name], int(devices[name]["size"])
            if not device.get("share"):
                raise _not_shared(process.name, size)
            fd, offset = _open(monitor, process, name, size)
            stack.callback(os.close, fd)
            found[name] = Backing(fd, offset, size, _has_vfio(process.pid))
        if not found:
            raise _not_shared(process.name, 0)
        yield found


def _has_vfio(pid: int) -> bool:
    """Whether the VM was given a device of the host."""
    links = []
    with contextlib.suppress(OSError):
        links = list(Path("/proc", str(pid), "fd").iterdir())
    for link in links:
        with contextlib.suppress(OSError):
            if str(link.readlink()).startswith("/dev/vfio"):
                return True
    return False


def _not_shared(vm: str, size: int) -> HostError:
    megabytes = f"{size >> 20}M" if size else "SIZE"
    option = f"-object memory-backend-memfd,id=ram0,size={megabytes},share=on"
    advice = f"start it with {option} -machine memory-backend=ram0"
    return HostError("QEMU does not share the guest's memory", vm, advice)


def _open(monitor: Monitor, process: QemuProcess, name: str, size: int) -> tuple[int, int]:
    path, offset = "", 0
    with contextlib.suppress(HostError):
        path = str(monitor.ask("qom-get", path=f"/objects/{name}", property="mem-path"))
    with contextlib.suppress(HostError):
        offset = int(monitor.ask("qom-get", path=f"/objects/{name}", property="offset"))
    inode = _mapped_inode(monitor, process.pid, name)
    found: dict[tuple[int, int], Path] = {}
    folder = Path("/proc", str(process.pid), "fd")
    try:
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):
                status, link = entry.stat(), str(entry.readlink())
                fits = stat.S_ISREG(status.st_mode) and status.st_size >= offset + size
                named = link == path if path else link.startswith("/memfd:")
                if fits and (status.st_ino == inode if inode else named):
                    found[status.st_dev, status.st_ino] = entry
        if len(found) == 1:
            (entry,) = found.values()
            return os.open(entry, os.O_RDWR | os.O_CLOEXEC), offset
    except OSError as error:
        cause = f"the guest's memory cannot be opened: {error.strerror}"
        raise HostError(cause, process.name, "as the user that QEMU runs as, or root") from None
    raise HostError(f"the file of the guest's memory {name} was not found", process.name)


def _mapped_inode(monitor: Monitor, pid: int, name: str) -> int:
    """Of what is mapped where newer versions say that they have the block; else 0."""
    for line in monitor.human("info ramblock").splitlines():
        words = line.split()
        block = words[0].rpartition("/")[2] if words else ""
        if block == name and len(words) > 7:
            address = int(words[-2], 16)
            for mapping in Path("/proc", str(pid), "maps").read_text().splitlines():
                span, _, _, _, inode, *_ = mapping.split()
                start, end = (int(part, 16) for part in span.split("-"))
                if start <= address < end:
                    return int(inode)
    return 0
