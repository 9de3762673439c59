"""Replaces a file by a new one atomically, and overwrites the old one's blocks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from sparc.errors import NotReadable, ScrubError

__all__ = ["Replacement", "fate_of_blocks"]

Progress = Callable[[int, int], None]

_PIECE = 4 << 20
# Where what is written over a block need not end up in that block.
_COPY_ON_WRITE = {"btrfs", "zfs", "bcachefs", "nilfs2", "f2fs", "overlay"}
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"}


class Replacement:
    """An existing file, opened to be replaced, and the new one, which has no name until then.

    As a context manager it leaves nothing behind but what `commit` has done. Raises NotReadable;
    ScrubError when the file may not be replaced: it has other names, or somebody has it open.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # What a symbolic link points to is replaced, not the link.
        self.path = Path(os.path.realpath(path))
        self._old = self._new = -1
        self._temporary: Path | None = None
        self.replaced = False
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        name = os.fspath(self.path)
        try:
            # A FIFO would wait for its other end.
            self._old = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            raise NotReadable(name, getattr(error, "strerror", None) or str(error)) from error
        self._status = os.fstat(self._old)
        if not stat.S_ISREG(self._status.st_mode):
            raise NotReadable(name, "not a regular file")
        if self._status.st_nlink > 1:
            raise ScrubError(
                name,
                f"it has {self._status.st_nlink} names (hard links) and would stay under others",
                "remove those first; find -samefile FILE lists them",
            )
        self._check_unused()

    def create(self) -> int:
        """The descriptor of the new file: empty, readable for its owner only."""
        folder = self.path.parent
        try:
            flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
            self._new = os.open(folder, flags, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT):
                raise NotReadable(os.fspath(folder), error.strerror or str(error)) from error
            self._temporary = self._free_name()
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            self._new = os.open(self._temporary, flags, 0o600)
        if (self._status.st_uid, self._status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(self._new, self._status.st_uid, self._status.st_gid)
        return self._new

    @property
    def new_path(self) -> str:
        """A path by which the new file can be read before it has a name."""
        return f"/proc/self/fd/{self._new}"

    def restart(self) -> None:
        """Make the new file empty again."""
        os.ftruncate(self._new, 0)
        os.lseek(self._new, 0, os.SEEK_SET)

    def commit(self, progress: Progress | None = None) -> None:
        """Put the new file, on the disk by then, in the old one's place; overwrite the old one.

        Raises ScrubError if the old one changed meanwhile; OSError. After an OSError from
        overwriting, the file has been replaced all the same: `replaced` tells.
        """
        os.fsync(self._new)
        self._check_unchanged()
        self._check_unused()
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if self._temporary is None:
                self._temporary = self._free_name()
                # With a folder's descriptor it is linkat(), which can follow the link in /proc.
                name = self._temporary.name
                os.link(self.new_path, name, dst_dir_fd=folder, follow_symlinks=True)
            self._temporary.replace(self.path)
            self._temporary = None
            self.replaced = True
            os.fsync(folder)
        finally:
            os.close(folder)
        self._overwrite(progress)

    def close(self) -> None:
        """Let go of both, and remove a new one that was not put in place."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None
        for fd in (self._old, self._new):
            if fd >= 0:
                os.close(fd)
        self._old = self._new = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _free_name(self) -> Path:
        return self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")

    def _check_unchanged(self) -> None:
        def same(one: os.stat_result) -> bool:
            keys = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_nlink")
            return all(getattr(one, key) == getattr(self._status, key) for key in keys)

        try:
            named = self.path.stat(follow_symlinks=False)
        except OSError:
            named = None
        if named is None or not same(named) or not same(os.fstat(self._old)):
            raise ScrubError(
                os.fspath(self.path),
                "it was changed, moved or linked to meanwhile",
                "see what did that, and try again",
            )

    def _check_unused(self) -> None:
        if _others_have_it_open(self._old):
            raise ScrubError(
                os.fspath(self.path),
                "another program has it open: it is being saved, restored or copied",
                "try again when that is over; fuser -v FILE tells what it is",
            )

    def _overwrite(self, progress: Progress | None) -> None:
        size = self._status.st_size
        # What compresses to nothing, or is told to be zeros, might not be written at all.
        piece = memoryview(secrets.token_bytes(_PIECE))
        at = 0
        while at < size:
            at += os.pwrite(self._old, piece[: min(_PIECE, size - at)], at)
            if progress is not None:
                progress(at, size)
        os.fsync(self._old)


def _others_have_it_open(fd: int) -> bool:
    """Whether anybody but us has the file open.

    A write lease is granted only to the file's one opener. Where there are no leases, as on
    network file systems, we look through the descriptors of all processes that we may look at.
    """
    # Somebody who opens it while we have the lease makes the kernel send this.
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
    finally:
        signal.signal(signal.SIGIO, before)
    status = os.fstat(fd)
    return any((s.st_dev, s.st_ino) == (status.st_dev, status.st_ino) for s in _open_files())


def _open_files() -> Iterator[os.stat_result]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):
                for link in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        yield link.stat()


def fate_of_blocks(path: str | os.PathLike[str]) -> str:
    """What overwriting a file at this place does to what was in it, in a sentence."""
    kind, options = _file_system(os.path.realpath(path))
    if kind in _COPY_ON_WRITE:
        said = f"overwritten, but {kind} writes elsewhere: the old blocks stay until reused"
    elif kind == "xfs":
        said = "overwritten in place on xfs, but for blocks that copies of the file share"
    elif kind in _REMOTE:
        said = f"overwritten through {kind}; what the server does with its blocks is not known"
    elif kind == "tmpfs":
        return "overwritten in memory; what was swapped out may still be in the swap"
    elif kind in ("ext2", "ext3", "ext4"):
        said = f"overwritten in place on {kind}"
        if "data=journal" in options:
            said += ", but its journal holds copies until it is reused"
    else:
        said = f"overwritten; whether {kind or 'the file system'} does so in place is not known"
    return f"{said}; a disk that moves blocks (an SSD, a virtual disk) may keep old copies"


def _file_system(path: str) -> tuple[str, str]:
    """Kind and options of the file system that a path is on; not by its device number, for btrfs
    has others for files."""
    best, found = -1, ("", "")
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields, _, rest = line.partition(" - ")
            point = fields.split()[4].replace("\\040", " ").rstrip("/") + "/"
            # Of several on one place, the last is what is seen.
            if path.startswith(point) and len(point) >= best:
                kind, _, options = rest.split(" ", 2)
                best, found = len(point), (kind, options)
    return found
