"""Copies of the C code with one mistake in them, for tests of what is to find mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["PACK", "mistaken"]

_PROJECT = Path(__file__).parents[2]
PACK = _PROJECT / "host_service/extpack"
_SOURCES = ("*.c", "*.h", "Makefile", "ExtPack.xml")


def mistaken(folder: Path, name: str, right: str, wrong: str) -> Path:
    """Copy pack and module below ``folder``; in the file ``name``, which is named from the
    project's root, ``right`` stands as ``wrong``. Returns the pack's folder there.
    """
    for part in ("host_service/extpack", "kmod"):
        source = _PROJECT / part
        for path in (path for pattern in _SOURCES for path in source.rglob(pattern)):
            copy = folder / path.relative_to(_PROJECT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    text = (_PROJECT / name).read_text()
    assert right in text
    (folder / name).write_text(text.replace(right, wrong, 1))
    return folder / "host_service/extpack"
