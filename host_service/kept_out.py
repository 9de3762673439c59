"""What was kept out of a checkpoint, in a line for people."""

from __future__ import annotations

from pathlib import Path

from host_service.reports import Report
from host_service.verdict import Verdict
from sparc.printable import printable, size

__all__ = ["FREE", "free_bytes", "own_bytes", "summary", "verdict_line", "verdict_text"]

FREE = "free"
"""The kind of what belonged to nobody any more."""

_PAGE = 4096
_SHOWN = 6
# Many of one program, as a browser has them, need one name.
_LONGEST = 1000


def own_bytes(report: Report) -> int:
    """Bytes of the excluded programs, of whatever kind."""
    kinds = report.kinds.items()
    return sum(amount.pages * _PAGE + amount.bytes for kind, amount in kinds if kind != FREE)


def free_bytes(report: Report) -> int:
    """Bytes of the guest's free memory."""
    return report.kinds[FREE].pages * _PAGE if FREE in report.kinds else 0


def summary(report: Report | None) -> str:
    """Programs and sizes, "" where nothing was kept out. The names are the guest's."""
    if report is None or (not report.excluded and not report.kinds):
        return ""
    names = list(dict.fromkeys(process.name for process in report.excluded))
    told = ", ".join(names[:_SHOWN])
    if len(names) > _SHOWN:
        told += f", {len(names) - _SHOWN} more"
    free = free_bytes(report)
    also = f", and {size(free)} of free memory" if free else ""
    return f"{told or 'no program'} ({size(own_bytes(report))}{also})"


def verdict_line(verdict: Verdict) -> str:
    """One printable line: clean and what was kept out, or NOT CLEAN and why."""
    if not verdict.clean:
        line = f"NOT CLEAN: {verdict.why}"
    elif told := summary(verdict.report):
        line = f"clean; kept out: {told}"
    else:
        line = f"clean: {verdict.why}"
    return printable(line)[:_LONGEST]


def verdict_text(state_file: Path | None, verdict: Verdict) -> str:
    """The same, also of a snapshot without memory: no program can be in that, so it is neither."""
    if state_file is None:
        return "no memory: it was taken while the VM was off"
    return verdict_line(verdict)
