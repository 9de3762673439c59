"""Which page each record of the page stream is about.

Source: the loader in the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/PGMSavedState.cpp.
"""

from __future__ import annotations

from sparc.errors import Damaged
from sparc.sav import c_pgm
from sparc.sav.memory import Memory

__all__ = ["RAM_KINDS", "Position"]

RAM_KINDS = (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED)
_MMIO2_KINDS = (c_pgm.MMIO2_RAW, c_pgm.MMIO2_ZERO)
_NOWHERE = -2  # as a last page: the next one is in no range


class Position:
    """Where the next page record applies, as VirtualBox's loader has it, with every bound."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.limits = [(start >> 12, (start + size) >> 12) for start, size in memory.ram_ranges()]
        self.ram = _NOWHERE  # the last RAM page's number
        self.id = 0xFF
        self.page = _NOWHERE

    @property
    def in_ram(self) -> bool:
        """Whether the last record was about RAM."""
        return self.ram != _NOWHERE

    def ram_left(self) -> int:
        """How many more pages the RAM range of the next one has."""
        for first, end in self.limits:
            if first <= self.ram + 1 < end:
                return end - self.ram - 1
        return 0

    def next_ram(self, count: int) -> int:
        """Step over `count` RAM pages; returns the first one's number."""
        first = self.ram + 1
        self.ram += count
        self.id = 0xFF
        return first

    def jump(self, kind: int, address: bytes, where: int) -> None:
        """Set the position so that the next page is the one at `address`."""
        value = int.from_bytes(address, "little")
        if kind in RAM_KINDS:
            if value & 0xFFF:
                raise Damaged("address of a page, it is not aligned", where, None, value)
            self.ram = (value >> 12) - 1
            if not self.ram_left():
                raise Damaged("address of a page, it is outside RAM", where, None, value)
        else:
            self.id, self.page = value & 0xFF, (value >> 8) - 1

    def follow(self, kind: int, count: int, where: int) -> tuple[int, int]:
        """Apply `count` records of `kind`: returns (first page number, tag for the index)."""
        if kind in RAM_KINDS:
            if self.ram_left() < count:
                raise Damaged("address of a page, it is outside RAM", where, None, self.ram + 1)
            return self.next_ram(count), kind
        ranges = self.memory.mmio2 if kind in _MMIO2_KINDS else self.memory.roms
        owner = ranges.get(self.id)
        first = self.page + 1
        if owner is None or first + count > owner.size >> 12:
            raise Damaged("page of a memory range, there is no such", where, None, self.id)
        self.page += count
        self.ram = _NOWHERE
        return first, kind | self.id << 8
