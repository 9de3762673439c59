"""What memory a VM has: RAM and its hole, ROMs, and the devices' own (MMIO2).

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/PGMSavedState.cpp.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field

from construct import CheckError

from sparc.errors import Damaged, LimitExceeded
from sparc.sav import c_pgm
from sparc.sav.index import PageIndex

__all__ = ["Memory", "Range", "parse_config"]

FOUR_GB = 1 << 32
# More than this would need more index than our memory bound has room for.
MAX_RAM = 1 << 38


@dataclass(frozen=True, slots=True)
class Range:
    """A ROM (with `address`, a GPA) or MMIO2 range; `size` in bytes."""

    id: int
    device: str
    instance: int
    region: int
    description: str
    size: int
    address: int | None = None


@dataclass(slots=True)
class Memory:
    """The VM's memory as configured: sizes in bytes, ranges by id. `cpus` is 0 until known."""

    size: int
    hole: int
    roms: dict[int, Range]
    mmio2: dict[int, Range]
    cpus: int = 0
    ballooned: int = 0
    index: PageIndex = field(default_factory=PageIndex)

    def ram_ranges(self) -> list[tuple[int, int]]:
        """Where RAM is, as (first GPA, size) in bytes: one range, or two around the hole."""
        below = min(self.size, FOUR_GB - self.hole)
        above = self.size - below
        return [(0, below), (FOUR_GB, above)] if above else [(0, below)]

    def is_ram(self, address: int) -> bool:
        """Whether this GPA lies in RAM."""
        return any(start <= address < start + size for start, size in self.ram_ranges())


def _ranges(data: io.BytesIO, offset: int, *, rom: bool) -> dict[int, Range]:
    """Parse a list of ROM or MMIO2 ranges, by id. Raises StreamError where it is cut."""
    ranges: dict[int, Range] = {}
    while True:
        first = data.read(1)
        if first == bytes([c_pgm.RANGES_END]):
            return ranges
        data.seek(-len(first), io.SEEK_CUR)
        raw = (c_pgm.rom_range if rom else c_pgm.mmio2_range).parse_stream(data)
        address = raw.address if rom else None
        wrong = raw.id == 0 or raw.id in ranges or raw.size % c_pgm.PAGE or raw.size > MAX_RAM
        if wrong or (address or 0) % c_pgm.PAGE:
            raise Damaged("memory range", offset, None, raw.id)
        names = [
            t.text.rstrip(b"\0").decode("utf-8", "backslashreplace")
            for t in (raw.device, raw.description)
        ]
        ranges[raw.id] = Range(
            raw.id, names[0], raw.instance, raw.region, names[1], raw.size, address
        )


def parse_config(data: io.BytesIO, offset: int) -> Memory:
    """Parse the memory configuration; `offset` is where it stands in the file.

    Raises construct's StreamError where `data` ends too early, Damaged, LimitExceeded.
    """
    raw = c_pgm.ram_config.parse_stream(data)
    try:
        roms = _ranges(data, offset, rom=True)
        mmio2 = _ranges(data, offset, rom=False)
    except CheckError as error:
        raise Damaged("name of a memory range", offset) from error
    if raw.size > MAX_RAM:
        raise LimitExceeded("RAM size in bytes", MAX_RAM, raw.size, offset)
    if raw.size % c_pgm.PAGE or raw.hole % c_pgm.PAGE or raw.size == 0:
        raise Damaged("RAM size", offset, None, raw.size)
    return Memory(raw.size, raw.hole, roms, mmio2)
