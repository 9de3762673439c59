"""The manifest of a parked guest, read out of an image of its memory as the host reads it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from host_service.qemu import manifest
from host_service.qemu.handshake import Guest, mailboxes
from sparc import abi

__all__ = ["Manifest"]


class _Image:
    """An image of all RAM, byte N being guest-physical address N."""

    def __init__(self, ram: npt.NDArray[np.uint8]) -> None:
        self._ram = ram
        self.end = len(ram)

    def holds(self, gpa: int, length: int) -> bool:
        return gpa + length <= self.end

    def read(self, gpa: int, length: int) -> bytes:
        return self._ram[gpa : gpa + length].tobytes()

    def load(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 8), "little")

    def store(self, gpa: int, word: int) -> None:
        raise NotImplementedError("nobody listens")


@dataclass(frozen=True)
class Manifest(manifest.Manifest):
    """What a guest asks to be kept out; `drop` and `stash` have each page frame of the image."""

    @classmethod
    def of(cls, ram: npt.NDArray[np.uint8]) -> Manifest:
        """Read it from an image of all RAM, byte N being guest-physical address N.

        Raises:
            LookupError: there is no mailbox.
            BadManifest: it does not hold.
        """
        memory = _Image(ram)
        found = mailboxes(memory)
        if not found:
            raise LookupError("no mailbox")
        sequence = Guest(memory, found[0]).page().manifest.sequence
        read = manifest.read_manifest(memory, found[0].gpa, sequence)
        fields = {f.name: getattr(read, f.name) for f in dataclasses.fields(read)}
        pages = len(ram) // abi.PAGE_SIZE
        for name in ("drop", "stash"):
            fields[name] = np.pad(fields[name], (0, max(0, pages - len(fields[name]))))[:pages]
        return cls(**fields)

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
