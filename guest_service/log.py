"""The service's log: the system's log and standard error.

While everybody is frozen, so are those who read logs, and a write might wait for them for ever:
then lines are kept and written later.
"""

from __future__ import annotations

import contextlib
import os
import syslog
from collections import deque

__all__ = ["Log"]

_KEPT = 1000


class Log:
    """`error` for what needs somebody's attention, `note` for the rest."""

    def __init__(self) -> None:
        # Under systemd, standard error is the journal; both would be one line twice.
        self._journal = "JOURNAL_STREAM" in os.environ
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self._held = False
        syslog.openlog("sparc-guestd", 0, syslog.LOG_DAEMON)

    def note(self, text: str) -> None:
        """Something happened."""
        self._add(syslog.LOG_NOTICE, text)

    def error(self, text: str) -> None:
        """Something went wrong."""
        self._add(syslog.LOG_ERR, text)

    def hold(self) -> None:
        """Write nothing until `release`."""
        self._held = True

    def release(self) -> None:
        """Write what was held, and everything at once from now on."""
        self._held = False
        while self._lines:
            self._write(*self._lines.popleft())

    def _add(self, level: int, text: str) -> None:
        if self._held:
            self._lines.append((level, text))
        else:
            self._write(level, text)

    def _write(self, level: int, text: str) -> None:
        line = f"<{level}>{text}\n" if self._journal else f"sparc-guestd: {text}\n"
        with contextlib.suppress(OSError):
            os.write(2, line.encode(errors="backslashreplace"))
        if not self._journal:
            syslog.syslog(level, text)
