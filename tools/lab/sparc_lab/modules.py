"""Kernel modules built outside the kernel's own tree, for the guests' kernels."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .cache import Entry
from .errors import UsageError
from .trees import run_in_tree

__all__ = ["MODULE", "Target", "module"]

MODULE = "module.ko"

# Whatever else stands in a source folder (notes, products of another build) is not looked at.
_SUFFIXES = (".c", ".h", ".S", ".lds")
_NAMES = ("Makefile", "Kbuild", "Kconfig", "dkms.conf")

_BUILD = r"""
set -e
make -s -C "$1" M=/build/source KCFLAGS=-Werror modules
set -- /build/source/*.ko
[ $# = 1 ] && [ -e "$1" ] || { echo "not one module was built but: $*" >&2; exit 1; }
mv "$1" /build/module.ko
"""


@dataclass(frozen=True)
class Target:
    """What a module is built for.

    Attributes:
        key: changes whenever the kernel, its headers or the compiler do.
        tree: the Debian tree with the compiler that the kernel was built with.
        headers: the kernel's build folder, a path inside the tree.
        beside: what the tree sees as ``/mnt``.
    """

    key: str
    tree: Path
    headers: str
    beside: Path | None = None

    @property
    def folder(self) -> Path:
        """The kernel's build folder as the host sees it."""
        if self.beside is None:
            return self.tree / self.headers.lstrip("/")
        return self.beside / Path(self.headers).relative_to("/mnt")

    @property
    def release(self) -> str:
        """What ``uname -r`` says in a guest with that kernel."""
        text = (self.folder / "include/generated/utsrelease.h").read_text()
        return text.split('"')[1]

    def run(self, work: Path, script: str, log: Path) -> None:
        """Run a shell script in the tree: ``work`` is ``/build`` there, ``$1`` is ``headers``.

        Raises:
            CommandError: it ended with another status than 0; its output is in ``log``.
        """
        run_in_tree(self.tree, work, script, log, self.headers, beside=self.beside)


def module(source: Path, target: Target) -> Entry:
    """``module.ko``, made from a copy of the folder ``source``; a warning fails the build.

    Raises:
        UsageError: the folder holds no sources of a module.
    """
    files = _sources(source)
    texts = [part for name, text in files.items() for part in (name, text.decode(errors="replace"))]

    def make(path: Path, log: Path) -> None:
        for name, text in files.items():
            copy = path / "source" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(text)
        target.run(path, _BUILD, log)
        shutil.rmtree(path / "source")

    return Entry("module", (target.key, _BUILD, *texts), (MODULE,), make)


def _sources(folder: Path) -> dict[str, bytes]:
    """The content of each file that a module is built from, by its path in ``folder``."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if (path.suffix in _SUFFIXES or path.name in _NAMES)
        and not path.name.endswith(".mod.c")
        and path.is_file()
    }
    if not {"Makefile", "Kbuild"} & files.keys():
        raise UsageError(f"{folder} holds no Makefile of a kernel module")
    return files
