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

from . import debian, guestimage, outer
from .cache import Cache, Entry
from .errors import BuildError, CommandError
from .guestimage import boot_iso
from .modules import Target
from .trees import qemu_tree, tools_tree, tree_base, virtualbox_tree

__all__ = ["KERNELS", "Builder", "Guest", "Outer", "Parts", "Progress"]

KERNELS = ("lab", *debian.SUITES)
"""Names of the kernels that guests can have."""


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


@dataclass(frozen=True)
class Guest:
    """What a machine under QEMU boots.

    Attributes:
        kernel: the kernel's image.
        initrd: loaded with it, or None.
        command_line: the kernel's.
        disk: the root disk, in the format that its name ends with.
    """

    kernel: Path
    initrd: Path | None
    command_line: str
    disk: Path


@dataclass(frozen=True)
class Outer:
    """What the machine around a VirtualBox with hardware virtualisation is made of.

    Attributes:
        qemu: a Debian tree with a QEMU that emulates AMD-V.
        kernel: the kernel's image.
        initrd: loaded with it; has VirtualBox's kernel module.
        key: changes whenever any of them does.
    """

    qemu: Path
    kernel: Path
    initrd: Path
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


class Builder:
    """Makes whatever is missing from the cache; several threads may at once.

    Raises:
        BuildError: a part could not be made; its log is named.
    """

    def __init__(self, cache: Cache, progress: Progress) -> None:
        if os.geteuid() != 0:
            raise BuildError("the lab is built and run as root", "sudo sparc-lab build")
        if shutil.which("debootstrap") is None:
            raise BuildError("debootstrap is not installed", "apt-get install debootstrap")
        self._cache = cache
        self._progress = progress

    def get(self, entry: Entry) -> Path:
        """The entry's folder, made first if need be."""
        started: Callable[[], None] = lambda: self._progress.start(entry.name)  # noqa: E731
        try:
            return self._cache.get(entry, started)
        except CommandError as error:
            message = f"{entry.name} could not be made: {error}"
            raise BuildError(message, f"the whole log is {self._cache.log(entry)}") from error
        finally:
            self._progress.done(entry.name)

    def parts(self) -> Parts:
        """What machines under VirtualBox are made of, and where all machines run."""
        with ThreadPoolExecutor(2) as pool:
            virtualbox = virtualbox_tree()
            virtualbox_path = pool.submit(self.get, virtualbox)
            kernel_future = pool.submit(self._lab_kernel)
            disk, disk_path = self._lab_disk()
            kernel, kernel_path = kernel_future.result()
            _, tools_path = self._tools()
            iso = boot_iso(tools_path, kernel, kernel_path)
            return Parts(
                virtualbox=virtualbox_path.result(),
                tools=tools_path,
                kernel=kernel_path,
                iso=self.get(iso) / "boot.iso",
                disk=disk_path / "root.vdi",
                key="-".join(entry.key for entry in (virtualbox, kernel, iso, disk)),
            )

    def everything(self) -> Parts:
        """All there is, what is downloaded beside what is compiled."""
        with ThreadPoolExecutor() as pool:
            parts = pool.submit(self.parts)
            guests = [pool.submit(self.guest, kernel) for kernel in KERNELS]
            pool.submit(self.outer).result()
            for guest in guests:
                guest.result()
            return parts.result()

    def guest(self, kernel: str, *, whole: bool = False) -> Guest:
        """What a machine under QEMU boots for a kernel by that name; see `Lab.up` on ``whole``."""
        if kernel == "lab":
            with ThreadPoolExecutor(1) as pool:
                disk_future = pool.submit(self._lab_disk)
                _, path = self._lab_kernel()
                return Guest(
                    kernel=path / "bzImage",
                    initrd=None,
                    command_line=guestimage.COMMAND_LINE,
                    disk=disk_future.result()[1] / "root.vdi",
                )
        tree, tree_path = self._kernel_tree(kernel)
        if whole:
            userland, make_disk = debian.whole_tree(kernel, tree, tree_path), debian.whole_disk
        else:
            userland, make_disk = debian.systemd_tree(*self._base()), debian.systemd_disk
        userland_path = self.get(userland)
        _, tools_path = self._tools()
        disk = make_disk(kernel, userland, userland_path, tree, tree_path, tools_path)
        return Guest(
            kernel=tree_path / "kernel/vmlinuz",
            initrd=self.get(debian.initrd(kernel, tree, tree_path)) / "initrd",
            command_line=debian.COMMAND_LINE,
            disk=self.get(disk) / "root.qcow2",
        )

    def outer(self) -> Outer:
        """What is around machines with hardware virtualisation."""
        with ThreadPoolExecutor(2) as pool:
            qemu = qemu_tree()
            qemu_future = pool.submit(self.get, qemu)
            virtualbox = virtualbox_tree()
            virtualbox_future = pool.submit(self.get, virtualbox)
            tree, tree_path = self._kernel_tree(outer.KERNEL)
            driver = outer.driver(virtualbox, virtualbox_future.result(), tree, tree_path)
            initrd = outer.initrd(self.get(driver), tree, tree_path)
            return Outer(
                qemu=qemu_future.result(),
                kernel=tree_path / "kernel/vmlinuz",
                initrd=self.get(initrd) / "initrd",
                key="-".join(entry.key for entry in (qemu, tree, initrd)),
            )

    def newest_qemu(self) -> Path:
        """A Debian tree with the newest QEMU."""
        return self.get(qemu_tree())

    def target(self, kernel: str) -> Target:
        """What modules for a kernel by that name are built against."""
        if kernel == "lab":
            entry, path = self._lab_kernel()
            return Target(entry.key, self._tools()[1], "/mnt/headers", beside=path)
        entry, path = self._kernel_tree(kernel)
        return Target(entry.key, path, "/kernel/headers")

    def _base(self) -> tuple[Entry, Path]:
        entry = tree_base()
        return entry, self.get(entry)

    def _tools(self) -> tuple[Entry, Path]:
        entry = tools_tree(*self._base())
        return entry, self.get(entry)

    def _lab_kernel(self) -> tuple[Entry, Path]:
        entry = guestimage.kernel(*self._tools())
        return entry, self.get(entry)

    def _lab_disk(self) -> tuple[Entry, Path]:
        entry = guestimage.root_disk(*self._base(), self._tools()[1])
        return entry, self.get(entry)

    def _kernel_tree(self, kernel: str) -> tuple[Entry, Path]:
        entry = debian.kernel_tree(kernel, *self._base())
        return entry, self.get(entry)
