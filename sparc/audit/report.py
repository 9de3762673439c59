"""What an audit found, without the secrets themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sparc.audit.secrets import Secret
from sparc.errors import NotReadable, SavError

__all__ = ["CLEAN", "INCOMPLETE", "RESIDUE", "Finding", "Report"]

CLEAN, RESIDUE, INCOMPLETE = 0, 1, 2


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place where a secret stands.

    `place` is "ram" (`address` is a GPA), "mmio2", "rom" or "shadow" (`address` counts from the
    start of the range `name`), "unit" (`name`, and `address` counts in its content) or "file" (a
    file offset outside all content). `crosses` is the GPA (or offset) of the second page when the
    secret goes on there, `cut` the bytes that stand in the first. `layers` names the compressed
    streams around it, outermost first; the secret's own offset in the innermost is `inner`.
    `superseded` marks a page copy of a live save that a later pass replaced: in the file, but
    not in what a restore loads. `size`: the bytes that were matched; it tells of the secret's
    length, and so is in no output.
    """

    secret: int
    encoding: str
    place: str
    name: str
    address: int
    file_offset: int
    crosses: int | None = None
    cut: int = 0
    layers: tuple[str, ...] = ()
    inner: int = 0
    superseded: bool = False
    size: int = field(default=0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """A JSON object with all fields; those that do not apply are left out."""
        data: dict[str, Any] = {
            "secret": self.secret,
            "encoding": self.encoding,
            "place": self.place,
            "address": self.address,
            "file_offset": self.file_offset,
            "superseded": self.superseded,
        }
        if self.name:
            data["name"] = self.name
        if self.crosses is not None:
            data["crosses"] = {"address": self.crosses, "cut": self.cut}
        if self.layers:
            data["layers"] = list(self.layers)
            data["inner_offset"] = self.inner
        return data


@dataclass(slots=True)
class Report:
    """The outcome for one file. `problems` say what could not be read; then it is never clean.

    `searched` is False where there was nothing that could be.
    """

    path: str
    secrets: list[Secret]
    findings: list[Finding] = field(default_factory=list)
    problems: list[SavError | NotReadable] = field(default_factory=list)
    # Secrets found, or maybe found, in more places than are listed.
    more: list[int] = field(default_factory=list)
    searched: bool = True

    @property
    def status(self) -> int:
        """The exit status: CLEAN, RESIDUE, or INCOMPLETE, which outranks both."""
        if self.problems:
            return INCOMPLETE
        return RESIDUE if self.findings or self.more else CLEAN

    def as_json(self) -> dict[str, Any]:
        """The stable schema of `sparc audit --json`.

        {"file", "status": "clean" | "residue" | "incomplete", "secrets": [{"number", "source",
        "line", "findings": count, "more": bool}], "findings": [Finding.as_json()],
        "problems": [{"type", "offset"}]}; the command line adds "message" to each problem.
        """
        counts = dict.fromkeys((s.number for s in self.secrets), 0)
        for finding in self.findings:
            counts[finding.secret] += 1
        return {
            "file": self.path,
            "status": ("clean", "residue", "incomplete")[self.status],
            "secrets": [
                {
                    "number": s.number,
                    "source": s.source,
                    "line": s.line,
                    "findings": counts[s.number],
                    "more": s.number in self.more,
                }
                for s in self.secrets
            ],
            "findings": [f.as_json() for f in self.findings],
            "problems": [{"type": type(p).__name__, "offset": p.offset} for p in self.problems],
        }
