"""The `pgm` unit, version 14 (VirtualBox 4.x to 7.2): guest memory, as data. Little endian.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/PGMSavedState.cpp, checked against 7.2.22.
"""

from __future__ import annotations

from construct import Array, Bytes, Check, Const, Int8ul, Int32ul, Int64ul, Struct, this

VERSION = 14
PAGE = 4096

STRUCT_BEGIN = 0x19200102
STRUCT_END = 0x19920406

fixed = Struct(
    "begin" / Const(STRUCT_BEGIN, Int32ul),
    "mappings_fixed" / Int8ul,
    "mapping_address" / Int64ul,
    "mapping_size" / Int32ul,
    "ballooned_pages" / Int32ul,
    "end" / Const(STRUCT_END, Int32ul),
)
FIXED_SIZE = fixed.sizeof()

cpu = Struct(
    "begin" / Const(STRUCT_BEGIN, Int32ul),
    "a20_enabled" / Int8ul,
    "a20_mask" / Int64ul,
    "guest_mode" / Int32ul,
    "pae_pds" / Array(4, Int64ul),
    "end" / Const(STRUCT_END, Int32ul),
)
CPU_SIZE = cpu.sizeof()

ram_config = Struct("hole" / Int32ul, "size" / Int64ul)

# A list of ranges is a sequence of these, each with an id from 1 to 254, ended by RANGES_END.
RANGES_END = 0xFF
MAX_TEXT = 256
text = Struct("size" / Int32ul, Check(this.size <= MAX_TEXT), "text" / Bytes(this.size))
rom_range = Struct(
    "id" / Int8ul,
    "device" / text,
    "instance" / Int32ul,
    "region" / Int8ul,
    "description" / text,
    "address" / Int64ul,
    "size" / Int64ul,
)
mmio2_range = Struct(
    "id" / Int8ul,
    "device" / text,
    "instance" / Int32ul,
    "region" / Int8ul,
    "description" / text,
    "size" / Int64ul,
)

# Page records: one byte, plus FLAG_ADDRESS when an address follows (RAM: u64 guest-physical;
# the others: u8 range id, u32 page index). Without it, the page is the one after the last.
RAM_ZERO = 0
RAM_RAW = 1
MMIO2_RAW = 2
MMIO2_ZERO = 3
ROM_VIRGIN = 4
ROM_SHADOW_RAW = 5
ROM_SHADOW_ZERO = 6
ROM_PROTECTION = 7
RAM_BALLOONED = 8
FLAG_ADDRESS = 0x80
RECORD_END = 0xFF

KIND_NAMES = (
    "ram_zero",
    "ram_raw",
    "mmio2_raw",
    "mmio2_zero",
    "rom_virgin",
    "rom_shadow_raw",
    "rom_shadow_zero",
    "rom_protection",
    "ram_ballooned",
)
