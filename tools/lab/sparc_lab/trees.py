"""Debian trees: the one VirtualBox runs in, the one things are built in, and the guest's own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .cache import Entry
from .processes import run

__all__ = [
    "ALONE",
    "chroot_argv",
    "copy_tree",
    "debootstrap",
    "install",
    "qemu_tree",
    "run_in_tree",
    "tools_tree",
    "tree_base",
    "virtualbox_tree",
]

_MIRROR = "http://deb.debian.org/debian"

# With what Python packages are installed with there: VirtualBox's SDK speaks to that Python only.
VIRTUALBOX_PACKAGES = (
    "gcc",
    "libc6-dev",
    "python3-dev",
    "python3-venv",
    "virtualbox",
    "virtualbox-qt",
    "xvfb",
    "xdotool",
    "imagemagick",
)
TOOLS_PACKAGES = (
    "bc",
    "bison",
    "build-essential",
    "dwarves",
    "e2fsprogs",
    "flex",
    "isolinux",
    "libelf-dev",
    "libssl-dev",
    "linux-source-6.1",
    "lz4",
    "python3",
    "qemu-system-x86",
    "qemu-utils",
    "syslinux-common",
    "xorriso",
    "xz-utils",
)
QEMU_PACKAGES = ("qemu-system-x86",)

# Neither is of use in a tree that is thrown away as a whole; both cost minutes.
_DPKG = "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n"
_APT = 'Acquire::Check-Valid-Until "false";\nAPT::Install-Recommends "false";\n'
# Whatever a maker starts ends with it, however that ends, and so does what it mounted.
ALONE = (
    *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"),
    *("--mount-proc", "--propagation", "private"),
)
_MOUNT = (
    'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && mount --rbind /dev "$0/dev"'
    ' && exec chroot "$0" "$@"'
)


def chroot_argv(tree: Path, argv: Sequence[str]) -> list[str]:
    """A command line that runs ``argv`` in ``tree``, with mounts that vanish with it."""
    return [
        *(*ALONE, "sh", "-c", _MOUNT, str(tree)),
        *("/usr/bin/env", "-i", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"),
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        *argv,
    ]


def debootstrap(suite: str, components: str, tree: Path, log: Path) -> None:
    """Make a minimal Debian tree, without daemons, documentation and signatures' dates."""
    mirror = os.environ.get("SPARC_LAB_MIRROR", _MIRROR)
    options = ["--variant=minbase", f"--components={components}"]
    argv = [*ALONE, "debootstrap", *options, suite, str(tree), mirror]
    run(argv, timeout=1800, log=log)
    (tree / "etc/apt/apt.conf.d/90lab").write_text(_APT)
    (tree / "etc/dpkg/dpkg.cfg.d/90lab").write_text(_DPKG)
    daemons = tree / "usr/sbin/policy-rc.d"
    daemons.write_text("#!/bin/sh\nexit 101\n")
    daemons.chmod(0o755)


def install(tree: Path, packages: Sequence[str], log: Path) -> None:
    """Install Debian packages into a tree and drop what was downloaded for it."""
    # The tree may be a copy of one that was made long ago.
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    run(chroot_argv(tree, ["apt-get", "update"]), timeout=600, log=log)
    argv = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    run(chroot_argv(tree, argv), timeout=1800, log=log)
    run(chroot_argv(tree, ["apt-get", "clean"]), log=log)


_BIND = r"""
set -e
mount --bind "$1" "$0/build"
if [ "$2" ]; then mount --bind "$2" "$0/mnt" && mount -o remount,bind,ro "$0/mnt"; fi
shift 2
exec "$@"
"""


def run_in_tree(
    tree: Path, work: Path, script: str, log: Path, *arguments: str, beside: Path | None = None
) -> None:
    """Run a shell script in a tree that sees ``work`` as ``/build``, ``beside`` as ``/mnt``."""
    outer = [*ALONE, "sh", "-c", _BIND, str(tree), str(work), str(beside or "")]
    argv = chroot_argv(tree, ["sh", "-c", script, "sh", *arguments])
    run([*outer, *argv], timeout=3000, log=log)


def virtualbox_tree() -> Entry:
    """Debian sid with VirtualBox: it needs a newer libc than Debian 12 has."""

    def make(path: Path, log: Path) -> None:
        debootstrap("sid", "main,contrib", path, log)
        install(path, VIRTUALBOX_PACKAGES, log)

    products = ("usr/lib/virtualbox/VBoxVMM.so", "usr/lib/virtualbox/VirtualBoxVM", "usr/bin/Xvfb")
    return Entry("virtualbox", ("sid", _APT, _DPKG, *VIRTUALBOX_PACKAGES), products, make)


def tree_base() -> Entry:
    """Debian bookworm and nothing else, to start other trees from."""

    def make(path: Path, log: Path) -> None:
        debootstrap("bookworm", "main", path, log)

    return Entry("bookworm", (_APT, _DPKG), ("etc/debian_version",), make)


def tools_tree(base: Entry, base_path: Path) -> Entry:
    """Bookworm with compilers, image tools and QEMU, so that the host needs none of them."""

    def make(path: Path, log: Path) -> None:
        copy_tree(base_path, path)
        install(path, TOOLS_PACKAGES, log)
        (path / "build").mkdir()

    products = ("usr/bin/gcc", "usr/bin/qemu-system-x86_64", "usr/src/linux-source-6.1.tar.xz")
    return Entry("tools", (base.key, *TOOLS_PACKAGES), products, make)


def qemu_tree() -> Entry:
    """Debian sid with its QEMU, which emulates AMD-V well enough for VirtualBox."""

    def make(path: Path, log: Path) -> None:
        debootstrap("sid", "main", path, log)
        install(path, QEMU_PACKAGES, log)

    products = ("usr/bin/qemu-system-x86_64",)
    return Entry("qemu", ("sid", _APT, _DPKG, *QEMU_PACKAGES), products, make)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree, owners, modes and device nodes included, over an empty folder."""
    run(["cp", "-a", "--reflink=auto", f"{source}/.", str(target)])
    (target / ".complete").unlink(missing_ok=True)
