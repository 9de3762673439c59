"""Swap areas one by one: taken off, overwritten, put on. Run in a child of the service.

It is the child that the kernel ends first when bringing everything back needs more memory than
there is.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import stat
import struct

from guest_service.helper import Failed
from guest_service.swap_table import Area, swapped_out

__all__ = ["cleared", "put_on"]

_PREFER = 0x8000
_DISCARDS = {"discard": 0x10000, "discard=once": 0x30000, "discard=pages": 0x50000}
_NEW_MOUNTS = 0x00020000
_BLKGETSIZE64, _BLKZEROOUT = 0x80081272, 0x127F
_MAGIC = b"SWAPSPACE2"
_PAGE = 4096
_CHUNK = 1 << 20
_ZEROED_AT_ONCE = 1 << 26
_ZRAM = "/dev/zram"
_PAGEOUT = 21
_RINSED = 16
_TRIES = 3
_SWAPPED = 1 << 62

_libc = ctypes.CDLL(None, use_errno=True)


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, function)


def _enter_mounts() -> None:
    """The names in /proc/swaps are init's; the service may see files differently, or read-only."""
    with open("/proc/1/ns/mnt", "rb") as there, open("/proc/self/ns/mnt", "rb") as here:
        if not os.path.sameopenfile(there.fileno(), here.fileno()):
            _call("setns", there.fileno(), _NEW_MOUNTS)


def put_on(off: list[Area]) -> None:
    """Put areas on, with the priorities that they had. All that can be; raises the last OSError."""
    _enter_mounts()
    trouble: OSError | None = None
    for area in off:
        flags = _PREFER | area.priority if area.priority >= 0 else 0
        try:
            _call("swapon", os.fsencode(area.path), flags | discards(area.path))
        except OSError as error:
            trouble = error
    if trouble is not None:
        raise trouble


def discards(path: str, table: str = "/etc/fstab") -> int:
    """The flags for freed slots to be discarded, as the table says; the kernel tells them not."""
    try:
        with open(table, "rb") as file:
            lines = [os.fsdecode(line).split() for line in file]
    except OSError:
        return 0
    for fields in lines:
        if len(fields) < 4 or fields[2] != "swap" or fields[0].startswith("#"):
            continue
        kind, tagged, value = fields[0].partition("=")
        named = f"/dev/disk/by-{kind.lower()}/{value.strip(chr(34))}" if tagged else fields[0]
        if os.path.realpath(named) == os.path.realpath(path):
            return max((_DISCARDS.get(option, 0) for option in fields[3].split(",")), default=0)
    return 0


def cleared(now: list[Area], cleared_at: int) -> int:
    """Take areas off; overwrite them, unless nothing was swapped out since `cleared_at`.

    What `swapped_out` was then: nothing can be swapped out until they are on again.
    """
    _enter_mounts()
    for _ in range(_TRIES):
        opened = [(area, _open(area)) for area in now]
        for area in now:
            _call("swapoff", os.fsencode(area.path))
        count = swapped_out()
        if count == cleared_at:
            return count
        for area, fd in opened:
            _overwrite(area, fd)
            os.close(fd)
        if not _compresses_first():
            return count
        # Its buffers, one for each CPU, hold what was compressed last.
        put_on(now)
        cleared_at = count + _rinse()
    raise Failed("swap", why="busy")


def _open(area: Area) -> int:
    """Before it is taken off, so that it is that file and no other."""
    try:
        fd = os.open(area.path, os.O_RDWR | os.O_DIRECT | os.O_CLOEXEC)
        status = os.fstat(fd)
    except OSError as error:
        raise Failed("swap-area", path=area.path, errno=error.errno) from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise Failed("swap-area", path=area.path)
    if area.path.startswith(_ZRAM):
        # What zram has written back to a disk is in no place that can be overwritten from here.
        name = f"/sys/block/{area.path.rpartition('/')[2]}/backing_dev"
        try:
            with open(name, "rb") as file:
                if file.read().strip() != b"none":
                    raise Failed("swap-area", path=area.path)
        except FileNotFoundError:
            pass
    return fd


def _overwrite(area: Area, fd: int) -> None:
    """Zeros all over it, behind its header."""
    header = mmap.mmap(-1, _PAGE)
    if os.preadv(fd, [header], 0) != _PAGE or header[-len(_MAGIC) :] != _MAGIC:
        raise Failed("swap-area", path=area.path)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        _write_zeros(fd, _PAGE, os.fstat(fd).st_size // _PAGE * _PAGE)
    else:
        size: int = struct.unpack("<Q", fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8)))[0]
        if area.path.startswith(_ZRAM):
            # Small things share pages in it: when nothing is left at all, no page is.
            _fill_buffers(fd, min(size, _CHUNK))
            _zero_device(fd, 0, size)
            os.pwritev(fd, [header], 0)
        else:
            _zero_device(fd, _PAGE, size // _PAGE * _PAGE)
    os.fsync(fd)


def _zero_device(fd: int, start: int, end: int) -> None:
    """By the kernel, which promises that zeros will be read."""
    while start < end:
        length = min(_ZEROED_AT_ONCE, end - start)
        try:
            fcntl.ioctl(fd, _BLKZEROOUT, struct.pack("<QQ", start, length))
        except OSError:
            _write_zeros(fd, start, end)
            return
        start += length


def _write_zeros(fd: int, start: int, end: int) -> None:
    """Written, not punched: a file's blocks may have been swapped to without its knowing."""
    zeros = memoryview(mmap.mmap(-1, _CHUNK))
    while start < end:
        start += os.pwritev(fd, [zeros[: min(_CHUNK, end - start)]], start)


def _fill_buffers(fd: int, size: int) -> None:
    """zram has buffers for each CPU, with what it compressed last: random pages go through them."""
    page = mmap.mmap(-1, _PAGE)
    cpus = os.sched_getaffinity(0)
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        for at in range(_PAGE, min(size, (1 + _RINSED) * _PAGE), _PAGE):
            page[:] = os.urandom(_PAGE)
            os.pwritev(fd, [page], at)
            os.preadv(fd, [page], at)
    os.sched_setaffinity(0, cpus)


def _compresses_first() -> bool:
    """Whether zswap is on."""
    try:
        with open("/sys/module/zswap/parameters/enabled", "rb") as file:
            return file.read().strip() == b"Y"
    except OSError:
        return False


def _rinse() -> int:
    """Swap random pages out and in on each CPU; how many.

    Raises Failed: they did not go.
    """
    count = 0
    cpus = os.sched_getaffinity(0)
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        area = mmap.mmap(-1, _RINSED * _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        area[:] = os.urandom(len(area))
        area.madvise(_PAGEOUT)
        if _swapped(area) != _RINSED:
            raise Failed("swap", why="zswap")
        count += _RINSED
        for at in range(0, len(area), _PAGE):
            area[at]
        area.close()
    os.sched_setaffinity(0, cpus)
    return count


def _swapped(area: mmap.mmap) -> int:
    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        entries = os.pread(file.fileno(), len(area) // _PAGE * 8, address // _PAGE * 8)
    return sum(bool(entry & _SWAPPED) for (entry,) in struct.iter_unpack("<Q", entries))
