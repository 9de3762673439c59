"""/dev/sparc: its ioctls as methods, its events as objects."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from array import array

from sparc import wire

__all__ = ["Counted", "Device", "DeviceError", "Event", "Member", "Parked", "Taken"]


# Where the kinds begin among the numbers of a count.
_KINDS = [name for name, _ in wire.COLLECT.fields].index("kind_pages")


class DeviceError(Exception):
    """The device cannot be used: `code` is no-module, in-use, refused, abi or device.

    Refused: not root with CAP_SYS_ADMIN, or excluded itself.
    """

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


_OPENING = {
    errno.ENOENT: "no-module",
    errno.ENXIO: "no-module",
    errno.ENODEV: "no-module",
    errno.EBUSY: "in-use",
    errno.EACCES: "refused",
    errno.EPERM: "refused",
}


class Event:
    """What the module tells: `type` is a wire.EventType, `name` a process's as raw bytes."""

    __slots__ = ("name", "pid", "sequence", "type")

    def __init__(self, type: int, sequence: int, pid: int, name: bytes) -> None:
        self.type = type
        self.sequence = sequence
        self.pid = pid
        self.name = name


class Member:
    """An excluded process; `exiting`: it ended, its memory is still being taken down.

    `memory_only`: what it left in the kernel is not kept out. `display`: the screen is, for it.
    """

    __slots__ = ("display", "exiting", "memory_only", "name", "pid")

    def __init__(self, pid: int, flags: int, name: bytes) -> None:
        self.pid = pid
        self.exiting = bool(flags & wire.PROCESS_EXITING)
        self.memory_only = bool(flags & wire.PROCESS_MEMORY_ONLY)
        self.display = bool(flags & wire.PROCESS_DISPLAY)
        self.name = name


class Taken:
    """What one exclude or include did: processes, of them for shared memory, pages (4 KiB)."""

    __slots__ = ("processes", "sharers", "shmem_pages", "swap_pages")

    def __init__(self, processes: int, sharers: int, swap_pages: int, shmem_pages: int) -> None:
        self.processes = processes
        self.sharers = sharers
        self.swap_pages = swap_pages
        self.shmem_pages = shmem_pages


class Parked:
    """How a park ended: `outcome` and `reason` as in wire, `name` as raw bytes."""

    __slots__ = ("collect_ns", "killed", "name", "outcome", "pid", "reason", "retries")

    def __init__(
        self,
        outcome: int,
        reason: int = wire.Reason.NONE,
        pid: int = 0,
        name: bytes = b"",
        collect_ns: int = 0,
        retries: int = 0,
        killed: int = 0,
    ) -> None:
        self.outcome = outcome
        self.reason = reason
        self.pid = pid
        self.name = name
        self.collect_ns = collect_ns
        self.retries = retries
        self.killed = killed


class Counted:
    """What would be kept out now: pages, and bytes of others' pages, by kind; or the `reason`
    (as in wire) why it could not be counted, and the process that it is about. `ns`: it took."""

    __slots__ = ("kinds", "ns", "pid", "reason")

    def __init__(
        self, kinds: dict[wire.Kind, tuple[int, int]], ns: int, reason: int = 0, pid: int = 0
    ) -> None:
        self.kinds = kinds
        self.ns = ns
        self.reason = reason
        self.pid = pid


def _name(comm: bytes) -> bytes:
    return comm.split(b"\0", 1)[0]


class Device:
    """The open device. Methods raise OSError as the ioctl says, unless told otherwise."""

    def __init__(self, path: str = wire.DEVICE) -> None:
        """Raises DeviceError."""
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            code = _OPENING.get(error.errno or 0, "device")
            raise DeviceError(code, error.strerror or "") from None
        version = bytearray(4)
        try:
            fcntl.ioctl(self.fd, wire.IOC_VERSION, version)
        except OSError as error:
            self.close()
            raise DeviceError("device", error.strerror or "") from None
        self.version: int = struct.unpack("<I", version)[0]
        if self.version != wire.VERSION:
            self.close()
            raise DeviceError("abi", f"{self.version}, not {wire.VERSION}")
        self._park = bytearray(wire.PARK.size)

    def close(self) -> None:
        """The module thaws what was handed over."""
        os.close(self.fd)

    def events(self) -> list[Event]:
        """The events that wait; none is no error."""
        try:
            data = os.read(self.fd, wire.EVENT.size * wire.EVENTS_AT_ONCE)
        except BlockingIOError:
            return []
        return [
            Event(type, sequence, pid, _name(comm))
            for type, sequence, pid, _, comm in wire.EVENT.iter_unpack(data)
        ]

    def exclude(self, pid: int, flags: int = 0) -> Taken:
        """Take a process into the set, with its descendants; one in it already takes nothing.

        `flags`: wire.MEMORY_ONLY, wire.WITH_DISPLAY.
        """
        return self._target(wire.IOC_EXCLUDE, pid, wire.WITH_DESCENDANTS | flags)

    def include(self, pid: int) -> Taken:
        """Let a process out of the set, with its descendants."""
        return self._target(wire.IOC_INCLUDE, pid, wire.WITH_DESCENDANTS)

    def keep_file(self, fd: int) -> None:
        """An open file that stays in checkpoints, whoever uses it, until the set is empty."""
        fcntl.ioctl(self.fd, wire.IOC_KEEP_FILE, struct.pack("<i", fd))

    def _target(self, request: int, pid: int, flags: int) -> Taken:
        target = bytearray(wire.TARGET.pack(pid, flags, 0, 0, 0, 0))
        fcntl.ioctl(self.fd, request, target)
        return Taken(*wire.TARGET.unpack(target)[2:])

    def members(self) -> list[Member]:
        """The set."""
        capacity = 64
        while True:
            room = array("B", bytes(capacity * wire.PROCESS.size))
            asked = bytearray(wire.LIST.pack(room.buffer_info()[0], capacity, 0))
            fcntl.ioctl(self.fd, wire.IOC_LIST, asked)
            _, most, count = wire.LIST.unpack(asked)
            # The module lowers the capacity to as many as it ever tells.
            if count <= capacity or most < capacity:
                told = room[: min(count, most) * wire.PROCESS.size]
                found = wire.PROCESS.iter_unpack(told)
                return [Member(pid, flags, _name(comm)) for pid, flags, comm in found]
            capacity = 2 * count

    def collect(self) -> Counted:
        """Count what would be kept out now; all CPUs stop for as long as each try takes."""
        room = bytearray(wire.COLLECT.size)
        fcntl.ioctl(self.fd, wire.IOC_COLLECT, room)
        told = wire.COLLECT.unpack(room)
        *_, ns, _, reason, pid, _ = told
        pages = told[_KINDS : _KINDS + wire.KINDS]
        parts = told[_KINDS + wire.KINDS : _KINDS + 2 * wire.KINDS]
        kinds = {kind: (pages[kind], parts[kind]) for kind in wire.Kind}
        return Counted({k: told for k, told in kinds.items() if any(told)}, ns, reason, pid)

    def park(self, sequence: int) -> Parked:
        """Hold the guest still until the host lets go."""
        wire.PARK.pack_into(self._park, 0, sequence, 0, 0, 0, b"", 0, 0, 0, 0)
        fcntl.ioctl(self.fd, wire.IOC_PARK, self._park)
        told = wire.PARK.unpack(self._park)
        _, outcome, reason, pid, comm, _, collect_ns, retries, killed = told
        return Parked(outcome, reason, pid, _name(comm), collect_ns, retries, killed)

    def fail(self, sequence: int, reason: wire.Reason, pid: int = 0) -> None:
        """Tell the host that this sequence will not be parked."""
        fcntl.ioctl(self.fd, wire.IOC_FAIL, wire.FAIL.pack(sequence, reason, pid, 0))

    def freezes(self, fd: int) -> None:
        """Hand over an open cgroup.freeze: the module writes 0 to it if this process dies."""
        fcntl.ioctl(self.fd, wire.IOC_FREEZES, struct.pack("<i", fd))

    def thawed(self) -> None:
        """All that was handed over is thawed."""
        fcntl.ioctl(self.fd, wire.IOC_THAWED)
