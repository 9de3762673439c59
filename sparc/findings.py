"""What `sparc doctor` finds, on either side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["BAD", "GOOD", "NOTE", "UNKNOWN", "Finding", "bad", "good", "note", "status", "unknown"]

GOOD, NOTE, UNKNOWN, BAD = "good", "note", "unknown", "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that must be right. `mend`: the command that makes it so, or what to do, or "".

    `state` is GOOD; BAD; NOTE, for what works and should be known; UNKNOWN, where it could not be
    found out. `says` may quote a guest.
    """

    what: str
    state: str
    says: str
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def good(what: str, says: str) -> Finding:
    """It is right."""
    return Finding(what, GOOD, says)


def note(what: str, says: str, mend: str = "") -> Finding:
    """It works, and there is something to know."""
    return Finding(what, NOTE, says, mend)


def unknown(what: str, says: str, mend: str = "") -> Finding:
    """It could not be found out."""
    return Finding(what, UNKNOWN, says, mend)


def bad(what: str, says: str, mend: str) -> Finding:
    """It is wrong."""
    return Finding(what, BAD, says, mend)


def status(findings: Iterable[Finding]) -> int:
    """The exit status: 1 something is wrong, else 2 something could not be found out, else 0."""
    states = {finding.state for finding in findings}
    return 1 if BAD in states else 2 if UNKNOWN in states else 0
