"""Guests with Debian's own kernels: the kernel and its headers, an initrd, and a systemd root disk.

These kernels keep nearly everything in modules and are too large for an interpreter; they are for
QEMU.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .cache import Entry
from .guestimage import furnish, guest_file, write_disk
from .processes import run
from .trees import chroot_argv, copy_tree, debootstrap, install, run_in_tree

__all__ = [
    "COMMAND_LINE",
    "SUITES",
    "initrd",
    "kernel_tree",
    "make_initrd",
    "systemd_disk",
    "systemd_tree",
    "whole_disk",
    "whole_tree",
]

# The kernel's name in the lab, and the Debian that has it; sid moves on, and its kernel with it.
SUITES = {"debian-6.1": "bookworm", "debian-7.2": "sid"}

COMMAND_LINE = "console=ttyS0 nokaslr quiet panic=-1"

_BUILD_PACKAGES = (
    "busybox-static",
    "cpio",
    "dkms",
    "gcc",
    "kmod",
    "linux-headers-amd64",
    "make",
    "sparse",
    "xz-utils",
)
# Unpacked only: the packages' scripts would make an initrd and a boot loader's menu.
_UNPACK = r"""
set -e
for headers in /usr/src/linux-headers-*-amd64; do release=${headers##*/linux-headers-}; done
mkdir -p /kernel/usr/lib /kernel/packages
ln -s usr/lib /kernel/lib
cd /kernel/packages
pattern="linux-(image|base|binary|modules)-$(echo "$release" | sed 's/[.+]/[&]/g')"
apt-get download -q $(apt-cache pkgnames linux- | grep -xE "$pattern")
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -C /kernel -x --keep-directory-symlink
done
cd /kernel
mv boot/vmlinuz-* vmlinuz 2>/dev/null || mv usr/lib/modules/*/vmlinuz vmlinuz
rm -r packages usr/share
depmod -b /kernel "$release"
ln -s "..$headers" headers
echo "$release" >release
"""

_INITRD_MODULES = "ata_piix sd_mod ext4 e1000 qemu_fw_cfg"
_INITRD = r"""
set -e
release=$(cat /kernel/release)
cd /build/initrd.d
mkdir -p bin dev proc sys root modules
cp "$(command -v busybox)" bin/
for module in $@; do modprobe -d /kernel -S "$release" --show-depends "$module"; done |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }' |
  while read -r file; do
    name=${file##*/}
    case $name in
      *.xz) name=${name%.xz}; xz -dc "$file" >"modules/$name" ;;
      *) cp "$file" modules/ ;;
    esac
    echo "$name"
  done >order
mv order modules/
find . | cpio -o -H newc --quiet >/build/initrd
"""

_GUEST_PACKAGES = (
    "e2fsprogs",
    "iproute2",
    "kmod",
    "procps",
    "python3",
    "python3-click",
    "systemd-sysv",
    "util-linux",
)
# No guest of the lab has the hardware that the rest of the modules drive.
_MODULES = (
    *("arch", "block", "crypto", "fs", "lib", "mm", "net"),
    *(f"drivers/{name}" for name in ("ata", "block", "char", "firmware", "md", "scsi", "virtio")),
    *("drivers/net/*.ko*", "drivers/net/ethernet/intel/e1000", "drivers/virt", "drivers/tty"),
)
_GUEST_FILES = (
    "agent",
    "lab-agent.service",
    "lab-network.service",
    "lab-terminal@.service",
    "profile",
    "systemd-setup",
)
_DISK_BYTES = 2 << 30

# What people have, and what packages that are tried there need.
_WHOLE_PACKAGES = (
    *_GUEST_PACKAGES,
    *("adduser", "login", "openssl", "udev"),
    *("python3-construct", "python3-numpy", "python3-rich"),
)
_WHOLE_DISK_BYTES = 4 << 30
_WHOLE_SETUP = r"""
set -e
[ -e /usr/share/systemd/tmp.mount ] || mkdir -p /usr/share/systemd
[ -e /usr/share/systemd/tmp.mount ] || cp /usr/lib/systemd/system/tmp.mount /usr/share/systemd/
/lab/systemd-setup
# The lab's: daemons start here, and packages are unpacked whole.
rm -r /usr/sbin/policy-rc.d /etc/dpkg/dpkg.cfg.d/90lab /etc/apt/apt.conf.d/90lab /kernel /build
"""


def kernel_tree(name: str, base: Entry, base_path: Path) -> Entry:
    """A tree with the compiler and headers of the kernel, and the kernel itself in ``kernel``.

    There: ``vmlinuz``, ``headers`` for modules, ``lib/modules`` and ``release``. ``base`` is
    bookworm without anything.
    """
    suite = SUITES[name]

    def make(path: Path, log: Path) -> None:
        if suite == "bookworm":
            copy_tree(base_path, path)
        else:
            debootstrap(suite, "main", path, log)
        install(path, _BUILD_PACKAGES, log)
        (path / "build").mkdir()
        work = path / "build"
        run_in_tree(path, work, _UNPACK, log)

    products = ("kernel/vmlinuz", "kernel/release", "usr/bin/gcc", "usr/bin/busybox")
    sources = (suite, base.key, _UNPACK, *_BUILD_PACKAGES)
    return Entry(name, sources, products, make)


def initrd(name: str, tree: Entry, tree_path: Path) -> Entry:
    """``initrd``: what brings up the root disk, and no more."""
    return make_initrd(f"initrd-{name}", guest_file("initrd"), _INITRD_MODULES, tree, tree_path)


def make_initrd(
    name: str, init: str, modules: str, tree: Entry, tree_path: Path, added: Sequence[Path] = ()
) -> Entry:
    """``initrd`` with the script ``init`` and these modules of the kernel in ``tree``.

    ``added`` are modules from other entries of the cache.
    """

    def make(path: Path, log: Path) -> None:
        root = path / "initrd.d"
        (root / "modules").mkdir(parents=True)
        (root / "init").write_text(init)
        (root / "init").chmod(0o755)
        for file in added:
            shutil.copy(file, root / "modules")
        run_in_tree(tree_path, path, _INITRD, log, *modules.split())
        shutil.rmtree(root)

    sources = (tree.key, init, _INITRD, modules, *(f"{p.parent.name}/{p.name}" for p in added))
    return Entry(name, sources, ("initrd",), make)


def systemd_tree(base: Entry, base_path: Path) -> Entry:
    """Bookworm as most people's guests are: systemd, cgroup v2; with the lab's agent in it."""

    def make(path: Path, log: Path) -> None:
        copy_tree(base_path, path)
        install(path, _GUEST_PACKAGES, log)
        furnish(path, _GUEST_FILES)
        run(chroot_argv(path, ["/lab/systemd-setup"]), log=log)

    sources = (base.key, *_GUEST_PACKAGES, *(guest_file(name) for name in _GUEST_FILES))
    return Entry("systemd", sources, ("lab/agent", "usr/bin/systemctl"), make)


def systemd_disk(
    name: str,
    userland: Entry,
    userland_path: Path,
    tree: Entry,
    tree_path: Path,
    tools_path: Path,
    *,
    size: int = _DISK_BYTES,
) -> Entry:
    """``root.qcow2``: the systemd guest with the modules of the kernel in ``tree``."""

    def make(path: Path, log: Path) -> None:
        root = path / "tree"
        root.mkdir()
        copy_tree(userland_path, root)
        release = (tree_path / "kernel/release").read_text().strip()
        every = tree_path / "kernel/lib/modules" / release / "kernel"
        kept = root / "lib/modules" / release / "kernel"
        for found in (place for pattern in _MODULES for place in every.glob(pattern)):
            target = kept / found.relative_to(every)
            target.parent.mkdir(parents=True, exist_ok=True)
            run(["cp", "-a", "--reflink=auto", str(found), str(target)])
        for listed in every.parent.glob("modules.builtin*"):
            shutil.copy(listed, kept.parent)
        run_in_tree(tree_path, path, 'depmod -b /build/tree "$1"', log, release)
        write_disk(root, path / "root.qcow2", size, tools_path, log)
        shutil.rmtree(root)

    sources = (userland.key, tree.key, *_MODULES, str(size))
    return Entry(f"disk-{name}", sources, ("root.qcow2",), make)


def whole_tree(name: str, tree: Entry, tree_path: Path) -> Entry:
    """The Debian of the kernel in ``tree``, with systemd and udev, its compiler, headers and DKMS.

    So that a guest can install packages, modules among them, as people's do; and the lab's agent.
    """

    def make(path: Path, log: Path) -> None:
        copy_tree(tree_path, path)
        install(path, _WHOLE_PACKAGES, log)
        furnish(path, _GUEST_FILES)
        run(chroot_argv(path, ["sh", "-c", _WHOLE_SETUP]), log=log)

    files = (guest_file(name) for name in _GUEST_FILES)
    sources = (tree.key, *_WHOLE_PACKAGES, _WHOLE_SETUP, *files)
    return Entry(f"whole-{name}", sources, ("lab/agent", "usr/sbin/dkms"), make)


def whole_disk(
    name: str, userland: Entry, userland_path: Path, tree: Entry, tree_path: Path, tools_path: Path
) -> Entry:
    """``root.qcow2`` of the whole guest."""
    return systemd_disk(
        f"whole-{name}",
        *(userland, userland_path, tree, tree_path, tools_path),
        size=_WHOLE_DISK_BYTES,
    )
