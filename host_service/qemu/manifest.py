"""What a parked guest asks to be kept out, read out of its memory by who believes nothing.

Every number is bounded before it is used, in the order that docs/wire-format.md says.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from host_service.qemu.handshake import Memory
from sparc import abi
from sparc.sav.mailbox import is_sealed

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BadManifest", "Manifest", "ranges", "read_manifest"]

_PAGE = abi.PAGE_SIZE
# More than a module makes room for; so that a lie costs the host little.
_MOST_EXTENTS = 1 << 22
_MOST_PROCESSES = 1 << 20
_EXTENT = np.dtype([("gpa", "<u8"), ("length", "<u4"), ("kind", "<u4")])
_PROCESS = np.dtype([("pid", "<i4"), ("flags", "<u4"), ("comm", f"S{abi.COMM_LEN}")])


class BadManifest(Exception):
    """It does not hold; the argument says what of it is wrong."""


@dataclass(frozen=True)
class Manifest:
    """What a guest asks to be kept out.

    Attributes:
        head: abi.Manifest.
        drop, stash: for each page frame up to the head's `ram_pages`, whether it is listed.
        extents: fields gpa, length (bytes) and kind.
        processes: fields pid, flags and comm.
    """

    head: Any
    drop: npt.NDArray[np.bool_]
    stash: npt.NDArray[np.bool_]
    extents: npt.NDArray[np.void]
    processes: npt.NDArray[np.void]

    @property
    def pids(self) -> frozenset[int]:
        """Thread group ids of the excluded."""
        return frozenset(self.processes["pid"].tolist())


def ranges(pages: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring pages that are listed, as (GPA, bytes)."""
    edges = np.flatnonzero(np.diff(pages, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():
        yield first * _PAGE, (last - first) * _PAGE


def read_manifest(memory: Memory, gpa: int, sequence: int) -> Manifest:
    """That of the mailbox at `gpa`, for the PREPARE of that sequence. Raises BadManifest."""
    # A copy: the guest cannot change a number after it was looked at.
    mailbox = abi.Mailbox.parse(memory.read(gpa, _PAGE))
    head = mailbox.manifest
    _check_head(head, mailbox, memory.end, sequence)
    run = _run(memory, mailbox.directory[: head.directories], head.run_bytes)
    if zlib.crc32(run) != head.run_crc:
        raise BadManifest("the checksum")
    bitmap = abi.bitmap_bytes(head.ram_pages)
    drop, stash = (_bits(run[at : at + bitmap], head.ram_pages) for at in (0, bitmap))
    extents = np.frombuffer(run, _EXTENT, head.extents, 2 * bitmap).copy()
    processes = np.frombuffer(run, _PROCESS, head.processes, _processes_at(head)).copy()
    found = Manifest(head, drop, stash, extents, processes)
    _check_pages(found, memory, gpa // _PAGE)
    _check_extents(found, memory, gpa // _PAGE)
    return found


def _aligned(count: int) -> int:
    return -(-count // _PAGE) * _PAGE


def _processes_at(head: Any) -> int:
    return 2 * abi.bitmap_bytes(head.ram_pages) + _aligned(head.extents * _EXTENT.itemsize)


def _check_head(head: Any, mailbox: Any, end: int, sequence: int) -> None:
    if not 1 <= head.directories <= abi.DIRECTORIES:
        raise BadManifest("the number of directories")
    if not is_sealed(mailbox):
        raise BadManifest("the checksum of the header")
    if head.sequence != sequence:
        raise BadManifest("the sequence")
    if head.display not in list(abi.Display):
        raise BadManifest("what is asked of the display")
    if head.reserved2:
        raise BadManifest("a reserved field")
    if not 0 < head.ram_pages <= end // _PAGE:
        raise BadManifest("the amount of memory")
    if head.extents > _MOST_EXTENTS or head.processes > _MOST_PROCESSES:
        raise BadManifest("the number of extents or processes")
    if head.run_bytes != _processes_at(head) + head.processes * _PROCESS.itemsize:
        raise BadManifest("the length")
    if head.run_bytes > head.directories * abi.DIRECTORY_ENTRIES * _PAGE:
        raise BadManifest("more than its directories hold")


def _run(memory: Memory, directory: list[int], length: int) -> bytes:
    """The pages of the run in their order, cut at its length in bytes."""
    count = -(-length // _PAGE)
    parts: list[bytes] = []
    for table in directory[: -(-count // abi.DIRECTORY_ENTRIES)]:
        addresses = np.frombuffer(_page(memory, table), "<u8")[: count - len(parts)]
        parts += [_page(memory, gpa) for gpa in addresses.tolist()]
    return b"".join(parts)[:length]


def _page(memory: Memory, gpa: int) -> bytes:
    if gpa % _PAGE or not memory.holds(gpa, _PAGE):
        raise BadManifest("a part outside memory")
    return memory.read(gpa, _PAGE)


def _bits(bitmap: bytes, count: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")
    if bits[count:].any():
        raise BadManifest("a page above all memory")
    return bits[:count].astype(np.bool_)


def _check_pages(found: Manifest, memory: Memory, mailbox: int) -> None:
    head, either = found.head, found.drop | found.stash
    if (found.drop & found.stash).any():
        raise BadManifest("a page in both bitmaps")
    if (int(found.drop.sum()), int(found.stash.sum())) != (head.drop_pages, head.stash_pages):
        raise BadManifest("the number of pages")
    canary = head.canary_gpa // _PAGE
    if canary >= head.ram_pages or not found.stash[canary]:
        raise BadManifest("the canary")
    if mailbox < head.ram_pages and either[mailbox]:
        raise BadManifest("the mailbox among the pages")
    for gpa, length in ranges(either):
        while length:
            # A run may pass from one part of RAM into the next: page by page there.
            count = length if memory.holds(gpa, length) else _PAGE
            if not memory.holds(gpa, count):
                raise BadManifest("a page that is no memory")
            gpa, length = gpa + count, length - count


def _check_extents(found: Manifest, memory: Memory, mailbox: int) -> None:
    extents, head = found.extents, found.head
    frames = extents["gpa"] // _PAGE
    lengths = extents["length"].astype(np.uint64)
    beyond = (
        (frames >= head.ram_pages) | (lengths == 0) | (extents["gpa"] % _PAGE + lengths > _PAGE)
    )
    if beyond.any() or not all(
        memory.holds(page * _PAGE, _PAGE) for page in np.unique(frames).tolist()
    ):
        raise BadManifest("an extent outside memory or over a page's end")
    if (extents["kind"] >= abi.KINDS).any():
        raise BadManifest("the kind of an extent")
    if (found.drop | found.stash)[frames.astype(np.int64)].any():
        raise BadManifest("an extent in a page of a bitmap")
    if (frames == mailbox).any():
        raise BadManifest("an extent in the mailbox")
    if int(lengths.sum()) > memory.end:
        raise BadManifest("extents of more than all memory")
