"""Words for why a guest did not take part in a checkpoint, which replies name by short ones (see
wire.Reason).
"""

from __future__ import annotations

__all__ = ["REASONS", "reason"]

REASONS = {
    "none": "",
    "no-service": "sparc-guestd was not running",
    "freeze": "a process could not be frozen in time",
    "busy": "memory stayed in motion",
    "no-room": "the module's manifest is too small",
    "no-memory": "the kernel had no memory to note everything",
    "swap": "swap could not be emptied and overwritten",
    "lost": "the host never answered",
    "abandoned": "the host gave up waiting",
    "service": "sparc-guestd failed; its log says more",
    "write-back": "a disk did not take the files of excluded processes in time",
}


def reason(code: str) -> str:
    """Why a checkpoint failed, for the guest."""
    return REASONS.get(code, code)
