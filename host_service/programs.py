"""Runs other programs that come to an end by themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

from host_service.errors import HostError

__all__ = ["last_line", "run"]

_SECONDS = 120


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program without standard input and keep what it says; its status is the caller's.

    Raises:
        HostError: it cannot be started, or does not end in two minutes.
    """
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{Path(argv[0]).name} does not work: {error}") from None


def last_line(text: str) -> str:
    """What a program said last, which is why it failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it does not say why"
