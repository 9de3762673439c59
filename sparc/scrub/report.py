"""What a scrub took out, what it had to leave, and what became of the old file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["CLEAN", "NOT_CLEAN", "Amount", "Left", "Report"]

CLEAN, NOT_CLEAN = 0, 1


@dataclass(slots=True)
class Amount:
    """How much of one kind is taken out: whole pages, and bytes in parts of others."""

    pages: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """A kind that was asked for and is still there, or may be, and why."""

    kind: str
    why: str


@dataclass(slots=True)
class Report:
    """The outcome for one file. `written`: it was replaced; `sizes`: bytes before and after.

    `fate` says what can be said of the old file's blocks; "" when there is no old file.
    """

    path: str
    dry_run: bool = False
    written: bool = False
    sizes: tuple[int, int] = (0, 0)
    kinds: dict[str, Amount] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    processes: list[tuple[int, str]] = field(default_factory=list)
    fate: str = ""

    def count(self, kind: str, pages: int = 0, bytes_: int = 0) -> None:
        """Add to what is taken out of a kind."""
        amount = self.kinds.setdefault(kind, Amount())
        amount.pages += pages
        amount.bytes += bytes_

    def leave(self, kind: str, why: str) -> None:
        """Note, once, what stays."""
        if (entry := Left(kind, why)) not in self.left:
            self.left.append(entry)

    def note(self, text: str) -> None:
        """Something to be told, once."""
        if text not in self.notes:
            self.notes.append(text)

    @property
    def status(self) -> int:
        """The exit status: CLEAN, or NOT_CLEAN if anything is left."""
        return NOT_CLEAN if self.left else CLEAN

    def as_json(self) -> dict[str, Any]:
        """The stable schema of `sparc scrub --json`.

        {"file", "status": "clean" | "not clean", "written": bool, "dry_run": bool, "size":
        {"before", "after": bytes}, "kinds": {kind: {"pages", "bytes"}}, "left": [{"kind", "why"}],
        "processes": [{"pid", "name"}], "notes": [text], "old_file": text or null}.
        """
        return {
            "file": self.path,
            "status": ("clean", "not clean")[self.status],
            "written": self.written,
            "dry_run": self.dry_run,
            "size": dict(zip(("before", "after"), self.sizes, strict=True)),
            "kinds": {k: {"pages": a.pages, "bytes": a.bytes} for k, a in self.kinds.items()},
            "left": [{"kind": one.kind, "why": one.why} for one in self.left],
            "processes": [{"pid": pid, "name": name} for pid, name in self.processes],
            "notes": self.notes,
            "old_file": self.fate or None,
        }
