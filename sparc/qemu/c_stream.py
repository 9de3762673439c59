"""QEMU's migration stream, version 3, as data. Big endian, but for bitmaps.

Source: QEMU's documentation, docs/devel/migration, checked against streams of 7.2 and 11.1.
"""

from __future__ import annotations

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int64ub, Struct, this

PAGE = 4096

MAGIC = b"QEVM"
VERSION = 3
file_header = Struct("magic" / Const(MAGIC), "version" / Int32ub)

# What comes next is told by a byte.
EOF = 0
SECTION_START = 1
SECTION_PART = 2
SECTION_END = 3
SECTION_FULL = 4
SUBSECTION = 5
DESCRIPTION = 6
CONFIGURATION = 7
COMMAND = 8
SECTION_FOOTER = 0x7E

text = Struct("size" / Int8ub, "text" / Bytes(this.size))
section = Struct("id" / Int32ub, "name" / text, "instance" / Int32ub, "version" / Int32ub)
command = Struct("command" / Int16ub, "size" / Int16ub, "data" / Bytes(this.size))

# The section "ram", version 4: words of 64 bits, an address in a block and what follows.
RAM_VERSION = 4
RAM_ZERO = 0x02
RAM_SIZES = 0x04
RAM_PAGE = 0x08
RAM_END = 0x10
RAM_CONTINUE = 0x20
RAM_FLAGS = 0xFFF

# With the capability mapped-ram, this follows each block's size; pages stand at their places, and
# of those whose bit is not set in the bitmap (64-bit words, little endian) nothing is stored.
MAPPED_VERSION = 1
mapped_header = Struct(
    "version" / Int32ub, "page_size" / Int64ub, "bitmap" / Int64ub, "pages" / Int64ub
)
