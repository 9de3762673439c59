"""The host's side of the handshake for a machine under QEMU, whose memory is not shared.

Guest memory is read and written where QEMU has it, while the guest runs.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import Any

from sparc_lab import QemuMachine

from host_service.qemu.handshake import Guest, Mailbox, Seen
from sparc import abi
from sparc.abi import State

__all__ = ["QemuHost"]


class _ProcessMemory:
    """RAM of a guest in the memory of QEMU's process. Raises LookupError without a mailbox."""

    def __init__(self, machine: QemuMachine) -> None:
        process = machine.recorded("vm")
        assert process
        self.end = machine.memory_end
        self._offset = machine.ram_offset
        self._memory = os.open(f"/proc/{process.pid}/mem", os.O_RDWR)
        self._base, self.mailbox = self._find(process.pid)

    def close(self) -> None:
        os.close(self._memory)

    def holds(self, gpa: int, length: int) -> bool:
        return gpa + length <= self.end

    def read(self, gpa: int, length: int) -> bytes:
        return os.pread(self._memory, length, self._base + self._offset(gpa))

    def write(self, gpa: int, data: bytes) -> None:
        os.pwrite(self._memory, data, self._base + self._offset(gpa))

    def load(self, gpa: int) -> int:
        return int.from_bytes(self.read(gpa, 8), "little")

    def store(self, gpa: int, word: int) -> None:
        self.write(gpa, word.to_bytes(8, "little"))

    def _find(self, pid: int) -> tuple[int, Mailbox]:
        """Where guest memory begins in QEMU, and the mailbox."""
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            # Anonymous memory: QEMU allocates the guest's RAM in one piece.
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw\S+ \S+ 00:00 0\s*$", line)
            if not found:
                continue
            start, end = (int(text, 16) for text in found.groups())
            for page in range(start, min(end, start + (1 << 26)), abi.PAGE_SIZE):
                try:
                    data = os.pread(self._memory, abi.Identity.sizeof(), page)
                except OSError:
                    break
                if data[:16] == abi.MAGIC:
                    identity = abi.Identity.parse(data)
                    if zlib.crc32(data[:-4]) == identity.crc:
                        mailbox = Mailbox(identity.gpa, identity.instance, identity.abi)
                        return page - identity.gpa, mailbox
        raise LookupError("no mailbox")


class QemuHost(Guest):
    """Finds a guest's mailbox and talks to it. Raises LookupError when there is none."""

    def __init__(self, machine: QemuMachine) -> None:
        self._process = _ProcessMemory(machine)
        super().__init__(self._process, self._process.mailbox)

    def close(self) -> None:
        """The guest is left as it is."""
        self._process.close()

    def read(self, gpa: int, length: int) -> bytes:
        """Guest memory."""
        return self._process.read(gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        """Overwrite guest memory."""
        self._process.write(gpa, data)

    def status(self) -> Any:
        """What the guest says of itself: abi.Status, with `state` and `sequence` of its word."""
        return _status(self.look())

    def await_state(self, *states: State, seconds: float = 300) -> Any:
        """The status once it is one of these, for the current sequence."""
        seen = self.wait(*states, seconds=seconds)
        if seen is None:
            raise TimeoutError(f"{self.status()}")
        return _status(seen)

    def manifest(self) -> Any:
        """The manifest's head, abi.Manifest."""
        return self.page().manifest

    def zero_canary(self) -> None:
        """Make a parked guest believe that it was restored."""
        self.write(self.manifest().canary_gpa, bytes(abi.PAGE_SIZE))


def _status(seen: Seen) -> Any:
    seen.status.state, seen.status.sequence = State(seen.state), seen.sequence
    return seen.status
