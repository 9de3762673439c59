"""Runs other programs that come to an end by themselves."""

from __future__ import annotations

import subprocess

__all__ = ["last_line", "run"]


def run(argv: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a program without standard input and keep what it says; its status is the caller's.

    Raises OSError where it cannot be started, and TimeoutExpired.
    """
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds,
    )


def last_line(text: str) -> str:
    """What a program said last, which is why it failed."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it does not say why"
