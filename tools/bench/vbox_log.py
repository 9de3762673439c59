"""When a machine of VirtualBox came into which state, as its log has it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["between"]

_STATE = re.compile(r"^(\d+):(\d\d):(\d\d\.\d+) Changing the VM state from '\w+' to '(\w+)'", re.M)


def between(log: Path, first: str, last: str) -> float:
    """Seconds from when it last came into one state to when it then came into the other.

    While a live snapshot is taken, states end in _LS.
    """
    start, took = None, float("nan")
    for hours, minutes, seconds, state in _STATE.findall(log.read_text(errors="replace")):
        now = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        state = state.removesuffix("_LS")
        if state == first:
            start = now
        elif state == last and start is not None:
            took, start = now - start, None
    return took
