"""A device without a module behind it, and a freezer without cgroups; both note what was asked."""

from __future__ import annotations

import contextlib
import errno
import os

from guest_service.device import Counted, Event, Member, Parked, Taken
from guest_service.freezer import NotFrozen
from sparc import wire

__all__ = ["FakeDevice", "FakeFreezer"]


class FakeDevice:
    """Like device.Device, with a pipe for its events and a set for its members."""

    def __init__(self) -> None:
        self.fd, self._signal = os.pipe2(os.O_NONBLOCK)
        self.version = wire.VERSION
        self.log: list[str] = []
        self.excluded: dict[int, bytes] = {}
        self.taken = Taken(1, 0, 0, 0)
        self.flags = 0
        self.counted = Counted({wire.Kind.ANON: (512, 0), wire.Kind.SWAP_CACHE: (0, 7)}, 31_000_000)
        self.parked: Parked | OSError = Parked(wire.Outcome.RESUMED)
        self.errors: list[OSError] = []
        self.killed: list[Event] = []
        self.not_waiting = False
        self._events: list[Event] = []

    def close(self) -> None:
        os.close(self.fd)
        os.close(self._signal)

    def tell(self, *events: Event) -> None:
        self._events += events
        os.write(self._signal, b"x")

    def events(self) -> list[Event]:
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 100)
        told, self._events = self._events, []
        return told

    def _change(self) -> Taken:
        if self.errors:
            raise self.errors.pop(0)
        return self.taken

    def exclude(self, pid: int, flags: int = 0) -> Taken:
        self.log.append(f"exclude {pid}" + (f" flags {flags}" if flags else ""))
        self.flags |= flags
        taken = self._change()
        self.excluded[pid] = b"name"
        return taken

    def keep_file(self, fd: int) -> None:
        self.log.append(f"keep {os.fstat(fd).st_ino}")

    def include(self, pid: int) -> Taken:
        self.log.append(f"include {pid}")
        taken = self._change()
        if pid not in self.excluded:
            raise ProcessLookupError(errno.ESRCH, "")
        del self.excluded[pid]
        return taken

    def members(self) -> list[Member]:
        return [Member(pid, self.flags, name) for pid, name in self.excluded.items()]

    def collect(self) -> Counted:
        self.log.append("collect")
        return self.counted

    def park(self, sequence: int) -> Parked:
        self.log.append(f"park {sequence}")
        self.tell(*self.killed)
        if isinstance(self.parked, OSError):
            raise self.parked
        return self.parked

    def fail(self, sequence: int, reason: wire.Reason, pid: int = 0) -> None:
        self.log.append(f"fail {sequence} {reason.name} {pid}")
        if self.not_waiting:
            raise OSError(errno.ECANCELED, "")

    def freezes(self, fd: int) -> None:
        self.log.append("freezes")

    def thawed(self) -> None:
        self.log.append("thawed")


class FakeFreezer:
    """Like freezer.Freezer; `trouble` is raised by freeze."""

    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.trouble: NotFrozen | Exception | None = None
        self.thaw_trouble: OSError | None = None

    def freeze(self, seconds: float) -> None:
        self._log.append(f"freeze {seconds:g}")
        if self.trouble:
            raise self.trouble

    def thaw(self) -> None:
        self._log.append("thaw")
        if self.thaw_trouble:
            raise self.thaw_trouble
