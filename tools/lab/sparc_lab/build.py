"""Everything the lab needs before a virtual machine can start, and how its parts hang together."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .cache import Cache, Entry
from .errors import BuildError, CommandError
from .guestimage import boot_iso, kernel, root_disk
from .trees import tools_tree, tree_base, virtualbox_tree

__all__ = ["Parts", "Progress", "build"]


@dataclass(frozen=True)
class Parts:
    """Where the parts of the lab stand in the cache.

    Attributes:
        virtualbox: a Debian tree with VirtualBox in it.
        tools: a Debian tree with compilers, image tools and QEMU.
        kernel: folder with ``bzImage``, ``vmlinux`` and ``headers``.
        iso: the boot medium.
        disk: the guest's root disk, VDI.
        key: changes whenever any part does.
    """

    virtualbox: Path
    tools: Path
    kernel: Path
    iso: Path
    disk: Path
    key: str


class Progress:
    """Says what is being made and for how long; one line a change, none when nothing is made."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._lock = threading.Lock()
        self._running: dict[str, float] = {}
        self._timer: threading.Thread | None = None

    def start(self, name: str) -> None:
        """``name`` is being made from now on."""
        with self._lock:
            self._running[name] = time.monotonic()
            self._say(f"making {name}")
            if self._timer is None:
                self._timer = threading.Thread(target=self._tick, daemon=True)
                self._timer.start()

    def done(self, name: str) -> None:
        """``name`` is made."""
        with self._lock:
            began = self._running.pop(name, None)
            if began is not None:
                self._say(f"made   {name} in {time.monotonic() - began:.0f} s")

    def _say(self, text: str) -> None:
        end = "\033[K\n" if self._stream.isatty() else "\n"
        print(f"  {text}", file=self._stream, end=end, flush=True)

    def _tick(self) -> None:
        """On a terminal, a line that moves; elsewhere a sign of life every minute."""
        tty = self._stream.isatty()
        while True:
            time.sleep(1 if tty else 60)
            with self._lock:
                if not self._running:
                    self._timer = None
                    return
                now = time.monotonic()
                text = ", ".join(f"{n} {now - t:.0f} s" for n, t in self._running.items())
                if tty:
                    print(f"  ... {text}\033[K", file=self._stream, end="\r", flush=True)
                else:
                    print(f"  ... {text}", file=self._stream, flush=True)


def build(cache: Cache, progress: Progress) -> Parts:
    """Make whatever is missing from the cache.

    Raises:
        BuildError: a part could not be made; its log is named.
    """
    if os.geteuid() != 0:
        raise BuildError("the lab is built and run as root", "sudo sparc-lab build")
    if shutil.which("debootstrap") is None:
        raise BuildError("debootstrap is not installed", "apt-get install debootstrap")

    def get(entry: Entry) -> Path:
        return _get(cache, entry, progress)

    with ThreadPoolExecutor(2) as pool:
        virtualbox = virtualbox_tree()
        virtualbox_path = pool.submit(get, virtualbox)
        base = tree_base()
        base_path = get(base)
        tools = tools_tree(base, base_path)
        tools_path = get(tools)
        kernel_entry = kernel(tools, tools_path)
        kernel_path = pool.submit(get, kernel_entry)
        disk = root_disk(base, base_path, tools_path)
        disk_path = get(disk)
        iso = boot_iso(tools_path, kernel_entry, kernel_path.result())
        return Parts(
            virtualbox=virtualbox_path.result(),
            tools=tools_path,
            kernel=kernel_path.result(),
            iso=get(iso) / "boot.iso",
            disk=disk_path / "root.vdi",
            key="-".join(entry.key for entry in (virtualbox, kernel_entry, iso, disk)),
        )


def _get(cache: Cache, entry: Entry, progress: Progress) -> Path:
    started: Callable[[], None] = lambda: progress.start(entry.name)  # noqa: E731
    try:
        return cache.get(entry, started)
    except CommandError as error:
        message = f"{entry.name} could not be made: {error}"
        raise BuildError(message, f"the whole log is {cache.log(entry)}") from error
    finally:
        progress.done(entry.name)
