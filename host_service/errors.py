"""Everything that the host's side cannot do for a user, with what to do about it."""

from __future__ import annotations

from sparc.errors import SparcError

__all__ = ["HostError"]


class HostError(SparcError):
    """What was asked for cannot be had: `cause`, for which `vm`, and the `advice`."""

    def __init__(self, cause: str, vm: str = "", advice: str = "") -> None:
        super().__init__(cause, vm, advice)
        self.cause = cause
        self.vm = vm
        self.advice = advice
