"""What the guest is made of: kernel, boot medium and root disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from .cache import Entry
from .trees import copy_tree, install, run_in_tree

__all__ = [
    "COMMAND_LINE",
    "boot_iso",
    "furnish",
    "guest_file",
    "kernel",
    "root_disk",
    "write_disk",
]

# No random layout and no calibration: boots are alike, and shorter where each instruction is
# interpreted. The console is a serial line that a reader is attached to.
COMMAND_LINE = (
    "root=/dev/sda rw console=ttyS0 nokaslr lpj=1000000 tsc=reliable quiet panic=-1 init=/sbin/init"
)

GUEST_PACKAGES = (
    "bash",
    "busybox",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "procps",
    "python3",
    "python3-click",
    "sysvinit-core",
)
_DISK_BYTES = 1 << 30

_BUILD_KERNEL = r"""
set -e
tar -C /build -xf /usr/src/linux-source-6.1.tar.xz
cd /build/linux-source-6.1
make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config /build/fragment
make -s olddefconfig
make -s -j"$(nproc)" bzImage modules
"""

# What modules are built against: headers, scripts and symbols, without the objects.
_KEEP_KERNEL = r"""
set -e
cd /build/linux-source-6.1
cp arch/x86/boot/bzImage vmlinux System.map .config /build/out/
mkdir /build/out/headers
{
  find . -name 'Makefile*' -o -name 'Kconfig*' -o -name 'Kbuild*' -o -name '*.lds'
  find include arch/x86/include scripts tools/include tools/objtool -type f
  find arch/x86 -name module.lds -o -name '*.sh'
  echo ./Module.symvers; echo ./.config; echo ./tools/bpf/resolve_btfids/resolve_btfids
} | sort -u | while read -r f; do [ -e "$f" ] && echo "$f"; done |
  tar -cf - -T - | tar -C /build/out/headers -xf -
ln -s ../vmlinux /build/out/headers/vmlinux
"""


def guest_file(name: str) -> str:
    """The text of a file of the lab's ``guest`` folder."""
    return resources.files(__package__).joinpath("guest", name).read_text()


def kernel(tools: Entry, tools_path: Path) -> Entry:
    """Debian's 6.1 kernel, small: ``bzImage``, ``vmlinux``, and ``headers`` for modules."""
    fragment = guest_file("kernel.config")

    def make(path: Path, log: Path) -> None:
        work = path / "work"
        out = work / "out"
        out.mkdir(parents=True)
        (work / "fragment").write_text(fragment)
        for script in (_BUILD_KERNEL, _KEEP_KERNEL):
            run_in_tree(tools_path, work, script, log)
        for product in out.iterdir():
            product.rename(path / product.name)
        shutil.rmtree(work)

    products = ("bzImage", "vmlinux", "headers/Module.symvers", "headers/.config")
    sources = (tools.key, fragment, _BUILD_KERNEL, _KEEP_KERNEL)
    return Entry("kernel", sources, products, make)


def boot_iso(tools_path: Path, kernel_entry: Entry, kernel_path: Path) -> Entry:
    """``boot.iso``: isolinux and the kernel, since VirtualBox loads no kernel itself."""
    config = (
        f"DEFAULT lab\nPROMPT 0\nTIMEOUT 0\nLABEL lab\n KERNEL /bzImage\n APPEND {COMMAND_LINE}\n"
    )

    def make(path: Path, log: Path) -> None:
        iso = path / "iso"
        iso.mkdir()
        for loader in ("ISOLINUX/isolinux.bin", "syslinux/modules/bios/ldlinux.c32"):
            shutil.copy(tools_path / "usr/lib" / loader, iso)
        shutil.copy(kernel_path / "bzImage", iso)
        (iso / "isolinux.cfg").write_text(config)
        script = (
            "xorriso -as mkisofs -quiet -o /build/boot.iso -b isolinux.bin -c boot.cat"
            " -no-emul-boot -boot-load-size 4 -boot-info-table /build/iso"
        )
        run_in_tree(tools_path, path, script, log)
        shutil.rmtree(iso)

    return Entry("boot", (kernel_entry.key, config), ("boot.iso",), make)


def root_disk(base: Entry, base_path: Path, tools_path: Path) -> Entry:
    """``root.vdi``: the guest's root file system, ext4 on the whole disk."""
    files = ("inittab", "rc", "halt", "agent", "profile")

    def make(path: Path, log: Path) -> None:
        tree = path / "tree"
        tree.mkdir()
        copy_tree(base_path, tree)
        install(tree, GUEST_PACKAGES, log)
        furnish(tree, files)
        (tree / "lab/inittab").rename(tree / "etc/inittab")
        (tree / "etc/fstab").write_text("/dev/sda / ext4 rw 0 1\n")
        (tree / "etc/inittab.d").mkdir(exist_ok=True)
        write_disk(tree, path / "root.vdi", _DISK_BYTES, tools_path, log)
        shutil.rmtree(tree)

    sources = (base.key, *GUEST_PACKAGES, *(guest_file(name) for name in files), str(_DISK_BYTES))
    return Entry("disk", sources, ("root.vdi",), make)


def furnish(tree: Path, files: Sequence[str]) -> None:
    """Put files of the lab's ``guest`` folder into ``/lab``; drop what no guest needs."""
    for folder in ("var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
        shutil.rmtree(tree / folder, ignore_errors=True)
    (tree / "lab").mkdir()
    for name in files:
        (tree / "lab" / name).write_text(guest_file(name))
        (tree / "lab" / name).chmod(0o755)
    (tree / "lab/profile").rename(tree / "root/.bash_profile")
    (tree / "etc/hostname").write_text("guest\n")
    (tree / "etc/motd").write_text("")
    (tree / "root/.hushlogin").touch()
    # Where instructions are interpreted, even a login takes its time.
    defaults = tree / "etc/login.defs"
    text = re.sub(r"^LOGIN_TIMEOUT\s.*$", "LOGIN_TIMEOUT 900", defaults.read_text(), flags=re.M)
    defaults.write_text(text)


def write_disk(tree: Path, image: Path, size: int, tools_path: Path, log: Path) -> None:
    """Write a tree as an ext4 file system on a disk of ``size`` bytes; the name tells the format.

    Both stand in one folder.
    """
    script = """
        set -e
        truncate -s "$3" /build/root.raw
        mke2fs -q -t ext4 -L root -E lazy_itable_init=0,lazy_journal_init=0 -d "/build/$1" \\
          /build/root.raw
        qemu-img convert -f raw -O "${2##*.}" /build/root.raw "/build/$2"
        rm /build/root.raw
    """
    run_in_tree(tools_path, image.parent, script, log, tree.name, image.name, str(size))
