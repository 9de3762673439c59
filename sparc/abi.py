"""kmod/sparc_abi.h in Python: the mailbox and the manifest as data, and every number of the wire.

For readers on the host and for tests. A test compiles the header and compares.
"""

from __future__ import annotations

from enum import IntEnum

from construct import Array, Bytes, Construct, Int32sl, Int32ul, Int64ul, Padding, Struct

from sparc import wire
from sparc.wire import (
    COMM_LEN,
    DEVICE,
    IOC_COLLECT,
    IOC_EXCLUDE,
    IOC_FAIL,
    IOC_FREEZES,
    IOC_INCLUDE,
    IOC_KEEP_FILE,
    IOC_LIST,
    IOC_PARK,
    IOC_THAWED,
    IOC_VERSION,
    KINDS,
    MEMORY_ONLY,
    PROCESS_DISPLAY,
    PROCESS_EXITING,
    PROCESS_MEMORY_ONLY,
    VERSION,
    WITH_DESCENDANTS,
    WITH_DISPLAY,
    EventType,
    Kind,
    Outcome,
    Reason,
)

__all__ = [
    "COMM_LEN",
    "DEVICE",
    "DIRECTORIES",
    "DIRECTORY_ENTRIES",
    "IOC_COLLECT",
    "IOC_EXCLUDE",
    "IOC_FAIL",
    "IOC_FREEZES",
    "IOC_INCLUDE",
    "IOC_KEEP_FILE",
    "IOC_LIST",
    "IOC_PARK",
    "IOC_THAWED",
    "IOC_VERSION",
    "KINDS",
    "MAGIC",
    "MAILBOX_LIMIT",
    "MEMORY_ONLY",
    "PAGE_SIZE",
    "PROCESS_DISPLAY",
    "PROCESS_EXITING",
    "PROCESS_MEMORY_ONLY",
    "VERSION",
    "WITH_DESCENDANTS",
    "WITH_DISPLAY",
    "Collect",
    "Display",
    "Event",
    "EventType",
    "Extent",
    "Fail",
    "Identity",
    "Kind",
    "List",
    "Mailbox",
    "Manifest",
    "Outcome",
    "Park",
    "Process",
    "Reason",
    "Request",
    "State",
    "Status",
    "Target",
    "bitmap_bytes",
    "sequence_of",
    "what_of",
    "word",
]

PAGE_SIZE = 4096
MAGIC = b"\x7fsparc mailbox\n\0"
MAILBOX_LIMIT = 0x1000000
DIRECTORY_ENTRIES = PAGE_SIZE // 8
DIRECTORIES = 320


class Request(IntEnum):
    """Host to guest."""

    NONE = 0
    PREPARE = 1
    RESUMED = 2
    ABANDON = 3


class State(IntEnum):
    """Guest to host."""

    IDLE = 0
    PREPARING = 1
    PARKED = 2
    FAILED = 3


class Display(IntEnum):
    """What of the screen is to be blanked: in text mode what is written, but not the fonts."""

    KEEP = 0
    TEXT = 1
    ALL = 2


def word(sequence: int, what: int) -> int:
    """A request or a state as the one 64-bit word that it is on the wire."""
    return sequence << 32 | what


def sequence_of(value: int) -> int:
    """The sequence in a word."""
    return value >> 32


def what_of(value: int) -> int:
    """The request or state in a word; a liar's may be in no enumeration."""
    return value & 0xFFFFFFFF


def bitmap_bytes(pages: int) -> int:
    """The length of one bitmap of the manifest, a multiple of a page."""
    return -(-pages // (8 * PAGE_SIZE)) * PAGE_SIZE


Identity = Struct(
    "magic" / Bytes(16),
    "abi" / Int32ul,
    "size" / Int32ul,
    "gpa" / Int64ul,
    "instance" / Int64ul,
    "reserved" / Int32ul,
    "crc" / Int32ul,
)

Status = Struct(
    "word" / Int64ul,
    "reason" / Int32ul,
    "reason_pid" / Int32sl,
    "reason_comm" / Bytes(COMM_LEN),
    "armed" / Int32ul,
    "members" / Int32ul,
    "heartbeat" / Int64ul,
)

Extent = Struct("gpa" / Int64ul, "length" / Int32ul, "kind" / Int32ul)

_SCALARS = {"i": Int32sl, "I": Int32ul, "Q": Int64ul}


def _construct(code: str) -> Construct:
    """What a field of a Layout is: "I" one number, "16s" bytes, "16Q" several numbers."""
    count, kind = code[:-1], code[-1]
    if kind == "s":
        return Bytes(int(count))
    return Array(int(count), _SCALARS[kind]) if count else _SCALARS[kind]


def _fields(fields: tuple[tuple[str, str], ...]) -> list[Construct]:
    return [name / _construct(code) for name, code in fields]


Manifest = Struct(*_fields(wire.MANIFEST))

_STEP = 128
_TAIL = PAGE_SIZE - 8 * DIRECTORIES - 3 * _STEP

Mailbox = Struct(
    "identity" / Identity,
    Padding(_STEP - Identity.sizeof()),
    "status" / Status,
    Padding(_STEP - Status.sizeof()),
    "request" / Int64ul,
    Padding(_STEP - Int64ul.sizeof()),
    "manifest" / Manifest,
    Padding(_TAIL - Manifest.sizeof()),
    "directory" / Array(DIRECTORIES, Int64ul),
)

Target = Struct(*_fields(wire.TARGET.fields))
List = Struct(*_fields(wire.LIST.fields))
Process = Struct(*_fields(wire.PROCESS.fields))
Park = Struct(*_fields(wire.PARK.fields))
Fail = Struct(*_fields(wire.FAIL.fields))
Event = Struct(*_fields(wire.EVENT.fields))

Collect = Struct("manifest" / Manifest, *_fields(wire.COUNTED))
