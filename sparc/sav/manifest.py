"""What a parked guest asked to be kept out, as it still stands in the saved state of it.

The guest may lie: every address and count is bounded, and what contradicts itself is refused.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sparc import abi
from sparc.errors import PageNotStored, SparcError
from sparc.sav.mailbox import identity_of, is_held, is_sealed
from sparc.sav.state import SavedState

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Manifest", "NoManifest", "read_manifest"]

_PAGE = abi.PAGE_SIZE
# A module has no room for more: bitmaps of 256 GB, extents and processes at their most.
_LONGEST = 128 << 20
# Neither does the extension pack take more.
_MOST_EXTENTS = 1 << 22
_EXTENT = np.dtype([("gpa", "<u8"), ("length", "<u4"), ("kind", "<u4")])


class NoManifest(SparcError):
    """There is none that holds; `cause` says why. `module`: whether the guest had sparc in it.

    `foreign`: it may be one that holds, but of another version, which cannot be read.
    """

    def __init__(self, cause: str, *, module: bool, foreign: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.module = module
        self.foreign = foreign


@dataclass(frozen=True)
class Manifest:
    """What was to be kept out.

    Attributes:
        drop, stash: for each page frame, whether it is free memory, or kept out and put back.
        extents: parts of pages: fields gpa, length (bytes) and kind (abi.Kind, or beyond it).
        taken_out: whether the canary is gone from the file, as of all else that is listed.
    """

    drop: npt.NDArray[np.bool_]
    stash: npt.NDArray[np.bool_]
    extents: npt.NDArray[np.void]
    taken_out: bool


def read_manifest(state: SavedState) -> Manifest:
    """The manifest of the guest's last checkpoint, if that is this saved state.

    Raises NoManifest, SavError and NotReadable.
    """
    mailbox = _mailbox(state)
    if not is_held(mailbox):
        raise NoManifest("the guest was not held still for this save", module=True)
    head = mailbox.manifest
    if not is_sealed(mailbox):
        raise NoManifest("the guest's list of what to leave out is damaged", module=True)
    try:
        return _manifest(state, head, mailbox.directory[: head.directories])
    except (ValueError, PageNotStored):
        raise NoManifest("the guest's list of what to leave out is wrong", module=True) from None


def _mailbox(state: SavedState) -> Any:
    for page in range(abi.MAILBOX_LIMIT // _PAGE):
        place = state.place(page)
        if place is None or not place.offset:
            continue
        data = state.content(place)
        identity = identity_of(page, data)
        if identity is not None:
            if identity.abi != abi.VERSION:
                cause = "the guest's sparc is of another version"
                raise NoManifest(cause, module=True, foreign=True)
            return abi.Mailbox.parse(data)
    raise NoManifest("sparc did not run in the guest", module=False)


def _manifest(state: SavedState, head: Any, directory: list[int]) -> Manifest:
    """Raises ValueError where the numbers contradict each other, PageNotStored."""
    start, size = state.memory.ram_ranges()[-1]
    top = (start + size) // _PAGE
    bitmap = abi.bitmap_bytes(head.ram_pages)
    if head.ram_pages > top or head.run_bytes > _LONGEST or head.directories > abi.DIRECTORIES:
        raise ValueError
    if head.extents > _MOST_EXTENTS:
        raise ValueError
    if head.run_bytes < 2 * bitmap + head.extents * _EXTENT.itemsize:
        raise ValueError
    run = _run(state, directory, head.run_bytes)
    if zlib.crc32(run) != head.run_crc:
        raise ValueError
    drop = _bits(run[:bitmap], head.ram_pages, top)
    stash = _bits(run[bitmap : 2 * bitmap], head.ram_pages, top)
    extents = np.frombuffer(run, _EXTENT, head.extents, 2 * bitmap).copy()
    inside = extents["gpa"] % _PAGE + extents["length"]
    if (drop & stash).any() or (extents["gpa"] >= top * _PAGE).any() or (inside > _PAGE).any():
        raise ValueError
    canary = state.page(head.canary_gpa)
    return Manifest(drop, stash, extents, not any(canary))


def _run(state: SavedState, directory: list[int], length: int) -> bytes:
    """The pages of the run in their order, cut at its length in bytes."""
    count = -(-length // _PAGE)
    tables = [state.page(_aligned(gpa)) for gpa in directory[: -(-count // abi.DIRECTORY_ENTRIES)]]
    addresses = np.frombuffer(b"".join(tables), "<u8")[:count].tolist()
    if len(addresses) < count:
        raise ValueError
    return b"".join(state.page(_aligned(gpa)) for gpa in addresses)[:length]


def _aligned(gpa: int) -> int:
    if gpa % _PAGE:
        raise ValueError
    return gpa


def _bits(bitmap: bytes, count: int, pages: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[:count]
    return np.pad(bits, (0, pages - count)).astype(np.bool_)
