"""The host's side of the handshake for a machine under QEMU, which has no extension pack.

Guest memory is read and written where QEMU has it, while the guest runs.
"""

from __future__ import annotations

import os
import re
import time
import zlib
from pathlib import Path
from typing import Any

from sparc_lab import QemuMachine

from sparc import abi
from sparc.abi import Request, State

__all__ = ["QemuHost"]


class QemuHost:
    """Finds a guest's mailbox and talks to it. Raises LookupError when there is none."""

    def __init__(self, machine: QemuMachine) -> None:
        process = machine.recorded("vm")
        assert process
        self._offset = machine.ram_offset
        self._memory = os.open(f"/proc/{process.pid}/mem", os.O_RDWR)
        self._base, self.gpa = self._find(process.pid)
        self._sequence = abi.sequence_of(self._mailbox().request)

    def close(self) -> None:
        """The guest is left as it is."""
        os.close(self._memory)

    def read(self, gpa: int, length: int) -> bytes:
        """Guest memory."""
        return os.pread(self._memory, length, self._base + self._offset(gpa))

    def write(self, gpa: int, data: bytes) -> None:
        """Overwrite guest memory."""
        os.pwrite(self._memory, data, self._base + self._offset(gpa))

    def ask(self, what: Request, sequence: int | None = None) -> int:
        """Write a request, PREPARE with the next sequence; the sequence."""
        if what is Request.PREPARE:
            self._sequence += 1
        sequence = self._sequence if sequence is None else sequence
        offset = 256
        self.write(self.gpa + offset, abi.word(sequence, what).to_bytes(8, "little"))
        return sequence

    def status(self) -> Any:
        """What the guest says of itself: abi.Status, with `state` and `sequence` of its word."""
        status = self._mailbox().status
        status.state = State(abi.what_of(status.word))
        status.sequence = abi.sequence_of(status.word)
        return status

    def wait(self, *states: State, seconds: float = 300) -> Any:
        """The status once it is one of these, for the current sequence."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.status()
            if status.sequence == self._sequence and status.state in states:
                return status
            time.sleep(0.005)
        raise TimeoutError(f"{self.status()}")

    def manifest(self) -> Any:
        """The manifest's head, abi.Manifest."""
        return self._mailbox().manifest

    def zero_canary(self) -> None:
        """Make a parked guest believe that it was restored."""
        self.write(self.manifest().canary_gpa, bytes(abi.PAGE_SIZE))

    def _mailbox(self) -> Any:
        return abi.Mailbox.parse(self.read(self.gpa, abi.PAGE_SIZE))

    def _find(self, pid: int) -> tuple[int, int]:
        """Where guest memory begins in QEMU, and the mailbox's guest-physical address."""
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
                        return page - identity.gpa, identity.gpa
        raise LookupError("no mailbox")
