"""The host's side of the handshake, over any memory of a guest: kmod/sparc_abi.h says how."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from sparc import abi
from sparc.abi import Request, State
from sparc.sav.mailbox import identity_of

__all__ = ["Guest", "Mailbox", "Memory", "Seen", "mailboxes"]

_STATUS, _REQUEST = 128, 256
_POLL_SECONDS = 0.001
_TRIES = 8


class Memory(Protocol):
    """A guest's RAM by guest-physical address. What is no RAM cannot be read."""

    end: int

    def read(self, gpa: int, length: int, /) -> bytes:
        """A copy."""

    def load(self, gpa: int, /) -> int:
        """An aligned word of 64 bits, never half of one."""

    def store(self, gpa: int, word: int, /) -> None:
        """The same, written."""

    def holds(self, gpa: int, length: int, /) -> bool:
        """Whether all of it is RAM."""


@dataclass(frozen=True)
class Mailbox:
    """Where it is, of which load of the module, and of which version."""

    gpa: int
    instance: int
    abi: int


@dataclass(frozen=True)
class Seen:
    """abi.Status, and the sequence and state of its word; a liar's state may be unknown."""

    status: Any
    sequence: int
    state: int


def mailboxes(memory: Memory) -> list[Mailbox]:
    """All that are in the guest: one, where nobody lies."""
    found = []
    for gpa in range(0, min(memory.end, abi.MAILBOX_LIMIT), abi.PAGE_SIZE):
        if memory.holds(gpa, abi.PAGE_SIZE) and (mailbox := _at(memory, gpa)):
            found.append(mailbox)
    return found


def _at(memory: Memory, gpa: int) -> Mailbox | None:
    data = memory.read(gpa, abi.Identity.sizeof())
    identity = identity_of(gpa // abi.PAGE_SIZE, data)
    if identity is None or identity.size != abi.PAGE_SIZE:
        return None
    return Mailbox(gpa, identity.instance, identity.abi)


class Guest:
    """What is said to the guest through its mailbox, and what it says."""

    def __init__(self, memory: Memory, mailbox: Mailbox) -> None:
        self.memory = memory
        self.mailbox = mailbox
        self.sequence = abi.sequence_of(memory.load(mailbox.gpa + _REQUEST))

    def stands(self) -> bool:
        """Whether the mailbox is still there, of the same load of the module."""
        return _at(self.memory, self.mailbox.gpa) == self.mailbox

    def page(self) -> Any:
        """All of it: abi.Mailbox."""
        return abi.Mailbox.parse(self.memory.read(self.mailbox.gpa, abi.PAGE_SIZE))

    def ask(self, what: Request, sequence: int | None = None) -> int:
        """Write a request, PREPARE with the next sequence; the sequence."""
        if what is Request.PREPARE:
            self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        sequence = self.sequence if sequence is None else sequence
        self.memory.store(self.mailbox.gpa + _REQUEST, abi.word(sequence, what))
        return sequence

    def look(self) -> Seen:
        """What it says of itself, none of it older than its word."""
        gpa = self.mailbox.gpa + _STATUS
        before = self.memory.load(gpa)
        for _ in range(_TRIES):
            data = self.memory.read(gpa, abi.Status.sizeof())
            after = self.memory.load(gpa)
            if before == after:
                break
            before = after
        status = abi.Status.parse(after.to_bytes(8, "little") + data[8:])
        return Seen(status, abi.sequence_of(after), abi.what_of(after))

    def answered(self, *states: State) -> Seen | None:
        """What it says, if that is one of these states, for the current sequence."""
        seen = self.look()
        return seen if seen.sequence == self.sequence and seen.state in states else None

    def wait(self, *states: State, seconds: float) -> Seen | None:
        """The same, waited for; None if it does not come in time."""
        end = time.monotonic() + seconds
        while (seen := self.answered(*states)) is None and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return seen

    def let_go(self) -> None:
        """Whatever it stands in now: if it is parked, it may go on; if not, nobody waits."""
        seen = self.look()
        if seen.state == State.PARKED:
            self.ask(Request.RESUMED, seen.sequence)
        else:
            self.ask(Request.ABANDON)
