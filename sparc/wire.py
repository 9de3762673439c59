"""What kmod/sparc_abi.h says, as far as the guest's service needs it: `struct` and nothing heavier.

The service starts where each import costs seconds. `sparc.abi` builds the rest on this; a test
holds both against the compiler.
"""

from __future__ import annotations

import struct
from enum import IntEnum

__all__ = [
    "COLLECT",
    "COMM_LEN",
    "COUNTED",
    "DEVICE",
    "EVENT",
    "EVENTS_AT_ONCE",
    "FAIL",
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
    "LIST",
    "MANIFEST",
    "MEMORY_ONLY",
    "PARK",
    "PROCESS",
    "PROCESS_DISPLAY",
    "PROCESS_EXITING",
    "PROCESS_MEMORY_ONLY",
    "TARGET",
    "VERSION",
    "WITH_DESCENDANTS",
    "WITH_DISPLAY",
    "EventType",
    "Kind",
    "Layout",
    "Outcome",
    "Reason",
    "ioc",
    "named",
]

DEVICE = "/dev/sparc"
VERSION = 2
COMM_LEN = 16
KINDS = 16

WITH_DESCENDANTS = 1
MEMORY_ONLY = 2
WITH_DISPLAY = 4
PROCESS_EXITING = 1
PROCESS_MEMORY_ONLY = 2
PROCESS_DISPLAY = 4

# So many fit into the buffer that the service reads with; the module hands out whole events.
EVENTS_AT_ONCE = 64


class Reason(IntEnum):
    """Why a guest did not park, or let go of itself."""

    NONE = 0
    NO_SERVICE = 1
    FREEZE = 2
    BUSY = 3
    NO_ROOM = 4
    NO_MEMORY = 5
    SWAP = 6
    LOST = 7
    ABANDONED = 8
    SERVICE = 9
    WRITE_BACK = 10


class Kind(IntEnum):
    """Classes of excluded data."""

    OTHER = 0
    ANON = 1
    FILE = 2
    SHMEM = 3
    PIPE = 4
    SOCKET = 5
    TTY = 6
    CONSOLE = 7
    REGISTERS = 8
    FREE = 9
    DISPLAY = 10
    SWAP_CACHE = 11


class Outcome(IntEnum):
    """How a park ended."""

    RESUMED = 1
    RESTORED = 2
    LOST = 3
    FAILED = 4


class EventType(IntEnum):
    """What the module tells the service."""

    PREPARE = 1
    ABANDONED = 2
    KILLED = 3


def named(kind: type[IntEnum], value: int) -> str:
    """As reports and replies name it; a number of another version as a number."""
    try:
        return kind(value).name.lower().replace("_", "-")
    except ValueError:
        return str(value)


class Layout:
    """A C structure: the names of its fields and their `struct` codes; little endian, unpadded."""

    __slots__ = ("fields", "iter_unpack", "pack", "pack_into", "size", "unpack", "unpack_from")

    def __init__(self, *fields: tuple[str, str]) -> None:
        packer = struct.Struct("<" + "".join(code for _, code in fields))
        self.fields = fields
        self.size = packer.size
        self.pack, self.pack_into = packer.pack, packer.pack_into
        self.unpack, self.unpack_from = packer.unpack, packer.unpack_from
        self.iter_unpack = packer.iter_unpack


_COMM = ("comm", f"{COMM_LEN}s")

TARGET = Layout(
    ("pid", "i"),
    ("flags", "I"),
    ("processes", "I"),
    ("sharers", "I"),
    ("swap_pages", "Q"),
    ("shmem_pages", "Q"),
)
LIST = Layout(("buffer", "Q"), ("capacity", "I"), ("count", "I"))
PROCESS = Layout(("pid", "i"), ("flags", "I"), _COMM)
PARK = Layout(
    ("sequence", "I"),
    ("outcome", "I"),
    ("reason", "I"),
    ("reason_pid", "i"),
    ("reason_comm", f"{COMM_LEN}s"),
    ("turns", "Q"),
    ("collect_ns", "Q"),
    ("retries", "I"),
    ("killed", "I"),
)
FAIL = Layout(("sequence", "I"), ("reason", "I"), ("pid", "i"), ("reserved", "I"))
MANIFEST = (
    ("sequence", "I"),
    ("run_crc", "I"),
    ("run_bytes", "Q"),
    ("ram_pages", "Q"),
    ("drop_pages", "Q"),
    ("stash_pages", "Q"),
    ("canary_gpa", "Q"),
    ("extents", "I"),
    ("processes", "I"),
    ("display", "I"),
    ("directories", "I"),
    ("kind_pages", f"{KINDS}Q"),
    ("kind_bytes", f"{KINDS}Q"),
    ("reserved2", "I"),
    ("crc", "I"),
)
"""The fields of a manifest's head."""
COUNTED = (
    ("run_capacity", "Q"),
    ("collect_ns", "Q"),
    ("retries", "I"),
    ("reason", "I"),
    ("reason_pid", "i"),
    ("reserved", "I"),
)
COLLECT = Layout(*MANIFEST, *COUNTED)
EVENT = Layout(("type", "I"), ("sequence", "I"), ("pid", "i"), ("reserved", "I"), _COMM)

_WRITE, _READ = 1, 2


def ioc(direction: str, number: int, size: int) -> int:
    """The number of an ioctl of /dev/sparc as <linux/ioctl.h> makes it; direction "", r, w or rw.

    Read and write are meant from the caller's side; `size` is its argument's in bytes.
    """
    bits = (_READ if "r" in direction else 0) | (_WRITE if "w" in direction else 0)
    return bits << 30 | size << 16 | 0xB7 << 8 | number


_INT = struct.calcsize("<i")

IOC_VERSION = ioc("r", 0, _INT)
IOC_EXCLUDE = ioc("rw", 1, TARGET.size)
IOC_INCLUDE = ioc("rw", 2, TARGET.size)
IOC_LIST = ioc("rw", 3, LIST.size)
IOC_COLLECT = ioc("r", 4, COLLECT.size)
IOC_PARK = ioc("rw", 5, PARK.size)
IOC_FAIL = ioc("w", 6, FAIL.size)
IOC_FREEZES = ioc("w", 7, _INT)
IOC_THAWED = ioc("", 8, 0)
IOC_KEEP_FILE = ioc("w", 9, _INT)
