"""What each step of a checkpoint takes, as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tools.bench.results import Measured

__all__ = ["rows"]

Lines = list[Measured]
_Value = Callable[[Measured], float]


def _own(name: str) -> _Value:
    return lambda line: float(line[name])


def _rest(line: Measured) -> float:
    return float(line["prepare"] - line["guest_freeze"] - line["guest_collect"])


def _write(line: Measured) -> float:
    """sparc's own measure, where there is one: VirtualBox's log counts its steps as saving."""
    return float(line["write"] if "write" in line else line["saving"])


_STEPS: list[tuple[str, _Value]] = [
    ("prepare: from the request to the answer", _own("prepare")),
    ("- freeze (guest's clock)", _own("guest_freeze")),
    ("- sync, park, and what lies between (the rest)", _rest),
    ("- collect (guest's clock)", _own("guest_collect")),
    ("suspend", _own("suspending")),
    ("stash", _own("stash")),
    ("zero", _own("zero")),
    ("write", _write),
    ("put back", _own("put_back")),
    ("resume", _own("resuming")),
    ("thaw (guest's clock)", _own("guest_thaw")),
    ("**the guest stands still**, in all", _own("still")),
]


def _median(lines: Lines, value: _Value) -> str:
    try:
        return f"{1000 * statistics.median(value(line) for line in lines):.1f}"
    except (KeyError, statistics.StatisticsError):
        return ""


def rows(lines: Lines) -> list[list[str]]:
    """Medians in ms, of default and of sparc; "" for what one of them does not do."""
    by = {name: [one for one in lines if one["system"] == name] for name in ("default", "sparc")}
    return [[name, *(_median(own, value) for own in by.values())] for name, value in _STEPS]
