"""On-disk structures of VirtualBox's saved states, format 2.0, as data. Little endian throughout.

Source: the VirtualBox 7.1 sources, src/VBox/VMM/VMMR3/SSM.cpp, checked against files of 7.2.22.
"""

from __future__ import annotations

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

FILE_MAGIC_BASE = b"\x7fVirtualBox SavedState "
FILE_MAGIC = b"\x7fVirtualBox SavedState V2.0\n\0\0\0\0"
UNIT_MAGIC = b"\nUnit\n\0\0"
END_MAGIC = b"\nTheEnd\0"
DIR_MAGIC = b"\nDir\n\0\0\0"
FOOTER_MAGIC = b"\nFooter\0"

FLAG_STREAM_CRC = 1
FLAG_LIVE = 2
PASS_FINAL = 0xFFFFFFFF
LIVE_CONTROL = "SSMLiveControl"

file_header = Struct(
    "magic" / Bytes(32),
    "major" / Int16ul,
    "minor" / Int16ul,
    "build" / Int32ul,
    "revision" / Int32ul,
    "host_bits" / Int8ul,
    "gcphys_size" / Int8ul,
    "gcptr_size" / Int8ul,
    "reserved" / Int8ul,
    "units" / Int32ul,
    "flags" / Int32ul,
    "max_decompressed" / Int32ul,
    "crc" / Int32ul,
)

# The name follows: `name_size` bytes, NUL included, at most 48.
unit_header = Struct(
    "magic" / Bytes(8),
    "offset" / Int64ul,
    "stream_crc" / Int32ul,
    "crc" / Int32ul,
    "version" / Int32ul,
    "instance" / Int32ul,
    "pass_" / Int32ul,
    "flags" / Int32ul,
    "name_size" / Int32ul,
)
MAX_NAME = 48

# Closes each unit: 16 bytes, `stream_crc` covers the stream up to and including `size`.
terminator = Struct(
    "type" / Int8ul,
    "size" / Int8ul,
    "flags" / Int16ul,
    "stream_crc" / Int32ul,
    "unit_size" / Int64ul,
)
TERMINATOR_CRC = 1

directory = Struct("magic" / Bytes(8), "crc" / Int32ul, "entries" / Int32ul)
directory_entry = Struct("offset" / Int64ul, "instance" / Int32ul, "name_crc" / Int32ul)
MAX_ENTRIES = 0x10000

footer = Struct(
    "magic" / Bytes(8),
    "offset" / Int64ul,
    "stream_crc" / Int32ul,
    "entries" / Int32ul,
    "reserved" / Int32ul,
    "crc" / Int32ul,
)

# Record types (low four bits of a record's first byte) and flags (the other four).
REC_TERMINATOR = 1
REC_RAW = 2
REC_LZF = 3
REC_ZERO = 4
REC_FIXED = 0x80
REC_IMPORTANT = 0x10
# VirtualBox cuts what it writes into blocks of 4 KiB and decodes into a buffer of that size.
BLOCK = 4096
# Its writer puts no more than a block into a record. Longer ones are legal; this is our bound.
MAX_RECORD = 1 << 16
