"""Runs other programs, as sparc.programs does, with the host's errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

from host_service.errors import HostError
from sparc import programs

__all__ = ["run"]

_SECONDS = 120


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program; its status is the caller's.

    Raises:
        HostError: it cannot be started, or does not end in two minutes.
    """
    try:
        return programs.run(argv, _SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{Path(argv[0]).name} does not work: {error}") from None
