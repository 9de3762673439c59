"""What the machine around VirtualBox is made of: Debian's kernel and VirtualBox's module for it.

It has no disk. Its root is the tree of the sandbox in which VirtualBox is installed, over 9p.
"""

from __future__ import annotations

from pathlib import Path

from .cache import Entry
from .debian import make_initrd
from .guestimage import guest_file
from .trees import run_in_tree

__all__ = ["KERNEL", "driver", "initrd"]

KERNEL = "debian-7.2"

_MODULES = "virtio_pci 9pnet_virtio 9p"
_DRIVER = "vboxdrv.ko"
_BUILD = r"""
set -e
cp -r /mnt/virtualbox-*/ /build/source
make -s -j"$(nproc)" -C "$1" M=/build/source KERNELRELEASE="$2" modules
strip --strip-debug /build/source/vboxdrv/vboxdrv.ko -o /build/vboxdrv.ko
rm -r /build/source
"""


def driver(virtualbox: Entry, virtualbox_path: Path, tree: Entry, tree_path: Path) -> Entry:
    """``vboxdrv.ko``, made for the kernel in ``tree`` from what Debian has for dkms."""

    def make(path: Path, log: Path) -> None:
        release = (tree_path / "kernel/release").read_text().strip()
        sources = virtualbox_path / "usr/src"
        run_in_tree(tree_path, path, _BUILD, log, "/kernel/headers", release, beside=sources)

    return Entry("vboxdrv", (virtualbox.key, tree.key, _BUILD), (_DRIVER,), make)


def initrd(driver_path: Path, tree: Entry, tree_path: Path) -> Entry:
    """``initrd``: what mounts the root and loads VirtualBox's module."""
    init = guest_file("outer-init")
    return make_initrd("initrd-hm", init, _MODULES, tree, tree_path, [driver_path / _DRIVER])
