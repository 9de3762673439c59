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

Manifest = Struct(
    "sequence" / Int32ul,
    "run_crc" / Int32ul,
    "run_bytes" / Int64ul,
    "ram_pages" / Int64ul,
    "drop_pages" / Int64ul,
    "stash_pages" / Int64ul,
    "canary_gpa" / Int64ul,
    "extents" / Int32ul,
    "processes" / Int32ul,
    "display" / Int32ul,
    "directories" / Int32ul,
    "kind_pages" / Array(KINDS, Int64ul),
    "kind_bytes" / Array(KINDS, Int64ul),
    "reserved2" / Int32ul,
    "crc" / Int32ul,
)

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

_SCALARS = {"i": Int32sl, "I": Int32ul, "Q": Int64ul}


def _struct(layout: wire.Layout) -> Construct:
    return Struct(
        *(
            name / (_SCALARS[code] if code in _SCALARS else Bytes(int(code.removesuffix("s"))))
            for name, code in layout.fields
        )
    )


Target = _struct(wire.TARGET)
List = _struct(wire.LIST)
Process = _struct(wire.PROCESS)
Park = _struct(wire.PARK)
Fail = _struct(wire.FAIL)
Event = _struct(wire.EVENT)

Collect = Struct(
    "manifest" / Manifest,
    "run_capacity" / Int64ul,
    "collect_ns" / Int64ul,
    "retries" / Int32ul,
    "reason" / Int32ul,
    "reason_pid" / Int32sl,
    "reserved" / Int32ul,
)
