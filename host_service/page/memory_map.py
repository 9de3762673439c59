"""What each page of a guest's RAM is in a saved state: saved, kept out, free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from sparc.abi import KINDS, Kind
from sparc.errors import KernelNotRead
from sparc.sav import c_pgm
from sparc.sav.index import RAM
from sparc.sav.manifest import Manifest, NoManifest, read_manifest
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Class", "MemoryMap", "map_memory", "wanted_but_saved"]

_PAGE = c_pgm.PAGE


class Class(IntEnum):
    """Of a page. Where a point of the picture stands for several, the highest is shown."""

    NONE = 0
    """No page: the window of ROMs, memory that a balloon took, the rest of a picture's last row."""
    ZERO = 1
    """The file says that it is zeros, and nothing asked for that."""
    SAVED = 2
    FREE_SAVED = 3
    """Free memory of the guest, with what stood in it."""
    FREE_OUT = 4
    """Free memory of the guest, zeros in the file."""
    OUT = 5
    """Kept out as a whole."""
    CHANNELS = 6
    """Saved but for parts: pipes and sockets. The same for those below."""
    TERMINALS = 7
    REGISTERS = 8
    PARTS = 9
    NOT_OUT = 10
    """Was to be kept out, but has content in the file."""


_GROUPS = {
    Kind.PIPE: Class.CHANNELS,
    Kind.SOCKET: Class.CHANNELS,
    Kind.TTY: Class.TERMINALS,
    Kind.CONSOLE: Class.TERMINALS,
    Kind.DISPLAY: Class.TERMINALS,
    Kind.REGISTERS: Class.REGISTERS,
}


@dataclass(frozen=True)
class MemoryMap:
    """The class of each page of RAM, ascending, the hole below 4 GB left out.

    `manifest_absent` says why it is not known what was kept out, `free_unknown` why not what was
    free; each is "" where it is known. `module`: whether sparc ran in the guest. `unasked`: the
    guest asked for nothing in this save, for all that its memory shows.
    """

    classes: npt.NDArray[np.uint8]
    ranges: list[tuple[int, int]]
    module: bool
    manifest_absent: str
    free_unknown: str
    unasked: bool = False

    def counts(self) -> dict[Class, int]:
        """Pages of each class that has any."""
        found = np.bincount(self.classes, minlength=len(Class))
        return {kind: int(found[kind]) for kind in Class if found[kind]}

    def address(self, page: int) -> int:
        """The GPA of the n-th page of RAM."""
        offset = page * _PAGE
        for start, size in self.ranges:
            if offset < size:
                return start + offset
            offset -= size
        return sum(self.ranges[-1])


def map_memory(state: SavedState, progress: Callable[[int, int], None] | None = None) -> MemoryMap:
    """Find out, from the file alone. `progress(done, total)` counts steps.

    Raises SavError and NotReadable.
    """
    start, size = state.memory.ram_ranges()[-1]
    top = (start + size) // _PAGE
    classes, content = _stored(state, top)
    manifest, absent, module, unasked = None, "", True, False
    if progress is not None:
        progress(1, 3)
    try:
        manifest = read_manifest(state)
    except NoManifest as error:
        absent, module, unasked = error.cause, error.module, not error.foreign
    if progress is not None:
        progress(2, 3)
    unknown = ""
    if manifest is not None:
        _kept_out(state, classes, content, manifest)
    else:
        unknown = _free(state, classes, content)
    ranges = state.memory.ram_ranges()
    parts = [classes[at // _PAGE : (at + length) // _PAGE] for at, length in ranges]
    return MemoryMap(np.concatenate(parts), ranges, module, absent, unknown, unasked)


def _stored(state: SavedState, top: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The class of each page frame by its record alone; and whether it has content."""
    classes = np.zeros(top, np.uint8)
    content = np.zeros(top, np.bool_)
    rows = state.index.table(RAM)[:top]
    there = np.flatnonzero(rows)
    if not len(there):
        return classes, content
    offset, _, _, kind, _ = state.index.rows()
    row = rows[there] - 1
    content[there] = offset[row] != 0
    classes[there] = np.where(kind[row] == c_pgm.RAM_BALLOONED, Class.NONE, Class.ZERO)
    classes[content] = Class.SAVED
    return classes, content


def _kept_out(
    state: SavedState,
    classes: npt.NDArray[np.uint8],
    content: npt.NDArray[np.bool_],
    manifest: Manifest,
) -> None:
    classes[manifest.drop] = Class.FREE_OUT
    classes[manifest.stash] = Class.OUT
    frames = (manifest.extents["gpa"] // _PAGE).astype(np.int64)
    # A liar's kinds may be beyond those that there are.
    kinds = np.minimum(manifest.extents["kind"], KINDS)
    groups = np.full(KINDS + 1, Class.PARTS, np.uint8)
    for kind, group in _GROUPS.items():
        groups[kind] = group
    np.maximum.at(classes, frames, groups[kinds])
    for page in wanted_but_saved(state, content, manifest):
        classes[page] = Class.NOT_OUT


def wanted_but_saved(
    state: SavedState, content: npt.NDArray[np.bool_], manifest: Manifest
) -> list[int]:
    """The page frames of the manifest with anything but zeros where nothing may be."""
    whole = np.flatnonzero((manifest.drop | manifest.stash) & content).tolist()
    found = [page for page in whole if state.page(page * _PAGE).strip(b"\0")]
    # A liar may list millions, all of them in one page.
    extents = manifest.extents[content[(manifest.extents["gpa"] // _PAGE).astype(np.int64)]]
    last, data, wrong = -1, b"", False
    for gpa, length, _ in extents[np.argsort(extents["gpa"], kind="stable")].tolist():
        page, inside = divmod(gpa, _PAGE)
        if page != last:
            last, data, wrong = page, state.page(page * _PAGE), False
        if not wrong and data.count(0, inside, inside + length) != length:
            wrong = True
            found.append(page)
    return found


def _free(state: SavedState, classes: npt.NDArray[np.uint8], content: npt.NDArray[np.bool_]) -> str:
    """Mark what the guest's kernel has as free; or why that is not known."""
    try:
        from sparc.kernel.free import free_pages
        from sparc.kernel.program import open_kernel
    except ModuleNotFoundError:
        return "it takes drgn to find out: pip install sparc[scrub]"
    free = np.zeros(len(classes), np.bool_)
    listed = 0
    try:
        for pages in free_pages(open_kernel(state)):
            free[max(pages.start, 0) : max(pages.stop, 0)] = True
            listed += len(pages)
            # A liar's list may go round for ever.
            if listed > len(classes):
                return "the kernel's lists of it hold more than all memory"
    except KernelNotRead as error:
        return error.cause
    free &= classes != Class.NONE
    classes[free & content] = Class.FREE_SAVED
    classes[free & ~content] = Class.FREE_OUT
    return ""
