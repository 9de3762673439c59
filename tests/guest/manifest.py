"""The manifest of a parked guest, read out of an image of its memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sparc import abi

__all__ = ["Manifest"]

_MAILBOX_PAGES = abi.MAILBOX_LIMIT // abi.PAGE_SIZE
_EXTENT = np.dtype([("gpa", "<u8"), ("length", "<u4"), ("kind", "<u4")])


@dataclass(frozen=True)
class Manifest:
    """What a guest asks to be kept out.

    Attributes:
        head: abi.Manifest.
        drop, stash: for each page frame of the image, whether it is in the bitmap.
        extents: fields gpa, length (bytes) and kind.
        pids: thread group ids.
    """

    head: Any
    drop: npt.NDArray[np.bool_]
    stash: npt.NDArray[np.bool_]
    extents: npt.NDArray[np.void]
    pids: frozenset[int]

    @classmethod
    def of(cls, ram: npt.NDArray[np.uint8]) -> Manifest:
        """Read it from an image of all RAM, byte N being guest-physical address N.

        Raises:
            LookupError: there is no mailbox.
            ValueError: a checksum is wrong.
        """
        mailbox = abi.Mailbox.parse(_mailbox(ram))
        head = mailbox.manifest
        used = mailbox.directory[: head.directories]
        crc = zlib.crc32(abi.Manifest.build(head)[:-4])
        if zlib.crc32(np.array(used, "<u8").tobytes(), crc) != head.crc:
            raise ValueError("the manifest's head is damaged")
        run = _run(ram, used, head.run_bytes)
        if zlib.crc32(run) != head.run_crc:
            raise ValueError("the manifest's run is damaged")
        bitmap = abi.bitmap_bytes(head.ram_pages)
        start = 2 * bitmap + -(-head.extents * _EXTENT.itemsize // abi.PAGE_SIZE) * abi.PAGE_SIZE
        size = abi.Process.sizeof()
        processes = (abi.Process.parse(run[start + i * size :]) for i in range(head.processes))
        pages = len(ram) // abi.PAGE_SIZE
        return cls(
            head,
            _bits(run[:bitmap], head.ram_pages, pages),
            _bits(run[bitmap : 2 * bitmap], head.ram_pages, pages),
            np.frombuffer(run, _EXTENT, head.extents, 2 * bitmap),
            frozenset(process.pid for process in processes),
        )

    def covers(self, addresses: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether the byte at each guest-physical address is kept out."""
        pages = addresses // abi.PAGE_SIZE
        covered: npt.NDArray[np.bool_] = self.drop[pages] | self.stash[pages]
        if len(self.extents):
            extents = np.sort(self.extents, order="gpa")
            starts = extents["gpa"].astype(np.int64)
            before = np.maximum(np.searchsorted(starts, addresses, "right") - 1, 0)
            into = addresses - starts[before]
            covered |= (into >= 0) & (into < extents["length"][before])
        return covered


def _mailbox(ram: npt.NDArray[np.uint8]) -> bytes:
    for page in range(_MAILBOX_PAGES):
        data = ram[page * abi.PAGE_SIZE : (page + 1) * abi.PAGE_SIZE].tobytes()
        if data.startswith(abi.MAGIC):
            identity = abi.Identity.parse(data)
            crc = zlib.crc32(data[: abi.Identity.sizeof() - 4])
            if (identity.gpa, identity.crc) == (page * abi.PAGE_SIZE, crc):
                return data
    raise LookupError("no mailbox")


def _run(ram: npt.NDArray[np.uint8], directory: list[int], length: int) -> bytes:
    """The pages of the run in their order, cut at its length in bytes."""
    tables = [ram[gpa : gpa + abi.PAGE_SIZE].view("<u8") for gpa in directory]
    gpas = np.concatenate(tables)[: -(-length // abi.PAGE_SIZE)].astype(np.int64)
    return ram.reshape(-1, abi.PAGE_SIZE)[gpas // abi.PAGE_SIZE].tobytes()[:length]


def _bits(bitmap: bytes, count: int, pages: int) -> npt.NDArray[np.bool_]:
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")[:count]
    return np.pad(bits, (0, max(0, pages - count)))[:pages].astype(bool)
