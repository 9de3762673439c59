"""A folder of things that take long to make, each made once.

An entry is a folder ``NAME-KEY`` whose key is a hash of what it is made from. It is made beside its
place under a lock, sealed with a list of its products, and then renamed: whoever sees it sees it
whole. Two users at once are safe: the second waits for the first and takes what it made.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import BuildError

__all__ = ["Cache", "Entry", "locked"]

_SEAL = ".complete"
_UNUSED_SECONDS = 2 * 86400


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (made if missing) as long as the block runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Entry:
    """Something to be made: what it is made from, what it must hold, how it is made.

    Attributes:
        name: what a person calls it.
        sources: every text that decides what comes out; the key is their hash.
        products: files relative to the entry that must be there and unchanged.
        make: called with an empty folder to fill and a log file to write to.
    """

    name: str
    sources: Sequence[str]
    products: Sequence[str]
    make: Callable[[Path, Path], None]

    @property
    def key(self) -> str:
        """12 hex digits of the sources' SHA-256."""
        text = "\0".join((self.name, *self.sources))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The name of its folder in the cache."""
        return f"{self.name}-{self.key}"


class Cache:
    """The cache at ``root`` (``$SPARC_LAB_CACHE``, else ``/var/cache/sparc-lab``)."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(os.environ.get("SPARC_LAB_CACHE", "/var/cache/sparc-lab"))

    def path(self, entry: Entry) -> Path:
        """Where the entry is, or would be."""
        return self.root / entry.folder

    def log(self, entry: Entry) -> Path:
        """Where the making of the entry is logged."""
        return self.root / "log" / f"{entry.folder}.log"

    def whole(self, entry: Entry) -> bool:
        """Whether the entry is there, sealed, with all its products as they were made."""
        path = self.path(entry)
        try:
            seal = json.loads((path / _SEAL).read_text())
            return bool(seal == _fingerprints(path, entry.products))
        except (OSError, ValueError):
            return False

    def get(self, entry: Entry, started: Callable[[], None] = lambda: None) -> Path:
        """The entry's folder, made first if it is missing, half-made or broken.

        ``started`` is called when it has to be made.
        """
        path = self.path(entry)
        if self.whole(entry):
            os.utime(path)
            return path
        with locked(self.root / "lock" / entry.folder):
            if self.whole(entry):
                return path
            started()
            new = path.with_name(path.name + ".new")
            for stale in (new, path):
                _remove_tree(stale)
            new.mkdir(parents=True)
            log = self.log(entry)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("")
            entry.make(new, log)
            (new / _SEAL).write_text(json.dumps(_fingerprints(new, entry.products)))
            new.rename(path)
        self._drop_stale(entry)
        return path

    def _drop_stale(self, entry: Entry) -> None:
        """Remove entries of the same name that were made from something else, long unused."""
        for path in self.root.glob(f"{entry.name}-*"):
            if not re.fullmatch(r"-[0-9a-f]{12}(\.new)?", path.name.removeprefix(entry.name)):
                continue
            with contextlib.suppress(FileNotFoundError):
                if path == self.path(entry) or time.time() - path.stat().st_mtime < _UNUSED_SECONDS:
                    continue
            with (self.root / "lock" / path.name).open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if not _mounted_somewhere(path):
                    _remove_tree(path)


def _fingerprints(path: Path, products: Sequence[str]) -> dict[str, list[int]]:
    """Size in bytes and modification time in ns of each product."""
    found = {}
    for product in products:
        stat = (path / product).stat()
        found[product] = [stat.st_size, stat.st_mtime_ns]
    return found


def _mounted_somewhere(path: Path) -> bool:
    """Whether any process sees a mount made from ``path``, the lower side of an overlay say."""
    for mounts in Path("/proc").glob("[0-9]*/mounts"):
        with contextlib.suppress(OSError):
            if str(path) in mounts.read_text():
                return True
    return False


def _remove_tree(path: Path) -> None:
    """Remove a folder; refuses while something is mounted below it."""
    if not path.exists():
        return
    mounts = Path("/proc/self/mounts").read_text()
    if f" {path.resolve()}/" in mounts:
        raise BuildError(f"something is mounted below {path}", "unmount it")
    shutil.rmtree(path)
