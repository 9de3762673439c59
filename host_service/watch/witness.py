"""Compares what was seen being written with what the guest asked to be left out of it.

The guest's list stands in the file; what it is compared with does not come from the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from host_service.watch.processes import VmProcess, open_plain
from host_service.watch.saves import Save
from sparc import abi
from sparc.errors import SparcError
from sparc.sav import c_pgm, c_ssm
from sparc.sav.mailbox import find_mailbox
from sparc.sav.manifest import NoManifest, read_manifest
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Found", "Result", "compare", "find_file"]

_SHOWN = 16


class Result(StrEnum):
    """`NONE`: no listed page was written with content. Of `NOTHING` and `UNKNOWN`, `why` tells."""

    NONE = "none written"
    SOME = "some written"
    NOTHING = "nothing listed"
    UNKNOWN = "not verified"

    @property
    def good(self) -> bool:
        return self in (Result.NONE, Result.NOTHING)


@dataclass(frozen=True)
class Found:
    """What a witness says of a save.

    Attributes:
        listed: whole pages of the guest's list; parts: how much else is on it, less than a page
            each, of which a witness of pages cannot tell.
        written: listed pages that were written with content; pages: the first of their GPAs.
        error: why the file cannot be read, where that is `why`.
    """

    result: Result
    why: str = ""
    listed: int = 0
    parts: int = 0
    written: int = 0
    pages: tuple[int, ...] = ()
    error: SparcError | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "result": self.result.value,
            "why": self.why or None,
            "listed": self.listed,
            "parts": self.parts,
            "written": self.written,
            "pages": [f"{gpa:#x}" for gpa in self.pages],
        }


def find_file(vm: VmProcess, save: Save, seen: set[str]) -> str | None:
    """The saved state, as the VM's process names it: it ends as what was seen being written."""
    if save.footer is None:
        return None
    for path in sorted(seen) + list(_in_folder(vm)):
        try:
            if _footer(vm.path(path)) == save.footer:
                return path
        except OSError:
            continue
    return None


def _in_folder(vm: VmProcess) -> Iterator[str]:
    try:
        names = [path.name for path in vm.path(vm.folder).iterdir()] if vm.folder else []
    except OSError:
        names = []
    yield from (f"{vm.folder}/{name}" for name in names if name.endswith(".sav"))


def _footer(path: Path) -> tuple[int, int] | None:
    """Offset and CRC of the stream, by the file's last bytes."""
    size = c_ssm.footer.sizeof()
    with os.fdopen(open_plain(path), "rb") as file:
        start = os.fstat(file.fileno()).st_size - size
        if start < 0:
            return None
        file.seek(start)
        footer = c_ssm.footer.parse(file.read(size))
    if footer.magic != c_ssm.FOOTER_MAGIC or footer.offset != start:
        return None
    return footer.offset, footer.stream_crc


def compare(vm: VmProcess, save: Save, path: str | None, written: npt.NDArray[np.uint64]) -> Found:
    """Compare a finished save with the frames of the pages that were `written` with content."""
    why = _unseen(save)
    if why:
        return Found(Result.UNKNOWN, why)
    if path is None:
        return Found(Result.UNKNOWN, "the file was not found")
    try:
        fd = open_plain(vm.path(path))
    except OSError as error:
        return Found(Result.UNKNOWN, f"the file cannot be read: {error.strerror or error}")
    # By its descriptor: another file may be put there meanwhile.
    file = f"/proc/self/fd/{fd}"
    try:
        return _against(file, save, written)
    except SparcError as error:
        return Found(Result.UNKNOWN, "the file cannot be read", error=error)
    finally:
        os.close(fd)


def _unseen(save: Save) -> str:
    """Why nothing can be said, by what was seen alone."""
    numbers = save.numbers
    if save.cut:
        return save.cut
    if not save.saved:
        return "there is no whole file"
    if numbers.lost:
        return f"not everything was seen: {numbers.lost} lost"
    raw = (c_pgm.RAM_RAW, c_pgm.MMIO2_RAW, c_pgm.ROM_VIRGIN, c_pgm.ROM_SHADOW_RAW)
    contents = sum(numbers.pages[kind] for kind in raw)
    noted = numbers.pages[c_pgm.RAM_RAW]
    if numbers.odd or (numbers.contents, numbers.noted) != (contents, noted):
        return "pages were written in a way that is not known"
    return ""


def _against(file: str, save: Save, written: npt.NDArray[np.uint64]) -> Found:
    """Raises SavError, NotReadable."""
    with SavedState(file) as state:
        if state.index.counts() != save.numbers.by_kind():
            why = "the file has other pages than were seen being written"
            return Found(Result.UNKNOWN, why)
        try:
            manifest = read_manifest(state)
        except NoManifest as error:
            return _without_list(file, error)
    listed = np.flatnonzero(manifest.drop | manifest.stash).astype(np.uint64)
    wrong = np.intersect1d(listed, written)
    return Found(
        Result.SOME if len(wrong) else Result.NONE,
        listed=len(listed),
        parts=len(manifest.extents),
        written=len(wrong),
        pages=tuple(int(frame) * c_pgm.PAGE for frame in wrong[:_SHOWN]),
    )


def _without_list(file: str, error: NoManifest) -> Found:
    """Whether the guest had anything to be listed."""
    if not error.module:
        return Found(Result.NOTHING, error.cause)
    if not error.foreign:
        page = find_mailbox(file)
        if page is not None and not abi.Mailbox.parse(page).status.armed:
            return Found(Result.NOTHING, "nothing was excluded in the guest")
    return Found(Result.UNKNOWN, error.cause)
