"""Where the blocks of a VM's memory in QEMU appear to its processors.

A stream has blocks by name, with what is in them by offset. What was written by `sparc checkpoint`
has beside it where each was; else it is as QEMU has it for machines of a kind and size.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sparc.sav import c_pgm
from sparc.sav.index import PageIndex
from sparc.sav.memory import FOUR_GB, MAX_RAM, Memory, Range

__all__ = ["Block", "Placed", "StreamMemory", "beside", "placed"]

_MOST_BYTES = 16 << 20
# Below 4 GB lies so much at most; where there is more than that, less: by machine type.
_Q35 = (0xB0000000, 0x80000000)
_PC = (0xE0000000, 0xC0000000)
_FIRMWARE = ("pc.bios", "pc.rom", "isa-bios")


@dataclass(slots=True)
class Block:
    """A block of `size` bytes. Of a mapped-ram file, where its `bitmap` and `pages` stand."""

    name: str
    size: int
    bitmap: int | None = None
    pages: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """What stands in a block from `offset` on, `size` bytes, is RAM from `gpa` on."""

    block: str
    offset: int
    size: int
    gpa: int


@dataclass(slots=True)
class StreamMemory(Memory):
    """The VM's memory: RAM as it is placed, other blocks as ranges of their devices."""

    places: list[Placed] = field(default_factory=list)

    def ram_ranges(self) -> list[tuple[int, int]]:
        """Where RAM is, as (first GPA, size) in bytes, ascending, neighbours together."""
        found: list[tuple[int, int]] = []
        for place in sorted(self.places, key=lambda place: place.gpa):
            if found and sum(found[-1]) == place.gpa:
                found[-1] = found[-1][0], found[-1][1] + place.size
            else:
                found.append((place.gpa, place.size))
        return found

    def where(self, block: str) -> list[Placed]:
        """The parts of a block that are RAM, by offset; empty: it is a device's own."""
        return sorted(
            (place for place in self.places if place.block == block), key=lambda place: place.offset
        )

    @classmethod
    def of(cls, blocks: list[Block], places: list[Placed], stride: int) -> StreamMemory:
        """The memory that these blocks are."""
        devices: dict[int, Range] = {}
        ram = {place.block for place in places}
        for block in blocks:
            if block.name not in ram and len(devices) < 255:
                number = len(devices) + 1
                devices[number] = Range(number, block.name, 0, 0, block.name, block.size)
        size = sum(place.size for place in places)
        return cls(size, 0, {}, devices, index=PageIndex(stride), places=places)

    def device(self, block: str) -> int | None:
        """The number of a device's block, or None where it is not known by one."""
        return next((n for n, found in self.mmio2.items() if found.device == block), None)


def beside(path: str | os.PathLike[str]) -> list[tuple[int, int, str, int]]:
    """What is noted beside a checkpoint, as (GPA, bytes, block, offset); empty: nothing is."""
    file = Path(os.fspath(path).removesuffix(".ckpt") + ".machine.json")
    try:
        with file.open("rb") as source:
            parts = json.loads(source.read(_MOST_BYTES))["memory"]
        found = [(int(g), int(n), str(b), int(o)) for g, n, b, o in parts]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
    good = all(g >= 0 and n > 0 and o >= 0 and not (g | n | o) % c_pgm.PAGE for g, n, _, o in found)
    return found if good and all(g + n <= MAX_RAM for g, n, _, _ in found) else []


def placed(
    blocks: list[Block], machine: str, noted: Iterable[tuple[int, int, str, int]]
) -> list[Placed]:
    """Where RAM is: as noted, else as machines of that type have it."""
    sizes = {block.name: block.size for block in blocks}
    known = [
        (gpa, size, name, offset)
        for gpa, size, block, offset in noted
        for name in sizes
        if name.rpartition("/")[2] == block and offset + size <= sizes[name]
    ]
    return _together(known) if known else _usual(blocks, machine)


def _together(parts: list[tuple[int, int, str, int]]) -> list[Placed]:
    """Neighbours as one, with what lies between them in the block: there ROM hides RAM."""
    found: list[Placed] = []
    for gpa, size, block, offset in sorted(parts, key=lambda part: (part[2], part[3])):
        last = found[-1] if found else None
        if last and last.block == block and last.gpa - last.offset == gpa - offset:
            found[-1] = Placed(block, last.offset, offset + size - last.offset, last.gpa)
        else:
            found.append(Placed(block, offset, size, gpa))
    return found


def _usual(blocks: list[Block], machine: str) -> list[Placed]:
    own = [b for b in blocks if "/" not in b.name and b.name not in _FIRMWARE]
    own = own or [b for b in blocks if b.name.startswith("/objects/")]
    if not own:
        return []
    ram = max(own, key=lambda block: block.size)
    most, less = _Q35 if "q35" in machine else _PC
    low = min(ram.size, less if ram.size >= most else most)
    places = [Placed(ram.name, 0, low, 0)]
    if ram.size > low:
        places.append(Placed(ram.name, low, ram.size - low, FOUR_GB))
    return places
