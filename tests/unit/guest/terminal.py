"""A command at a terminal of its own, asking a service that has a device which is none."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

from guest.bench import Bench

__all__ = ["Terminal"]

_PROJECT = str(Path(__file__).parents[3])
_SECONDS = 60


class Terminal:
    """`seen` is what it showed since what was waited for last."""

    def __init__(
        self, bench: Bench, argv: Sequence[str], *, before: str = "", rows: int = 0, **environ: str
    ) -> None:
        """`before` is Python that runs first; without `rows` nobody knows the terminal's size."""
        code = (
            f"import sys; sys.path.insert(0, {_PROJECT!r})\n"
            "import guest_service.client as client\n"
            f"client.ask.__defaults__ = ({bench.path!r}, ())\n"
            f"{before}\n"
            "from sparc.cli.main import main\n"
            f"main({list(argv)!r})\n"
        )
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1000)
            if rows:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, 120, 0, 0))
            argv = [sys.executable, "-c", code]
            os.execve(sys.executable, argv, {"PATH": os.environ["PATH"], **environ})
        self.seen = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for it to be shown."""
        end = time.monotonic() + _SECONDS
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, self.seen
            if select.select([self.fd], [], [], 0.5)[0]:
                self._read()
        self.seen = self.seen[found.end() :]
        return found

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self.fd, text.encode())

    def echoes(self) -> bool:
        """Whether it shows what is typed."""
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def ended(self) -> int:
        """How the command ended, as wait(2) says it, after all that it showed."""
        os.set_blocking(self.fd, False)
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            with contextlib.suppress(OSError):
                while self._read():
                    pass
            if pid:
                self.pid = 0
                return status
            time.sleep(0.05)
        raise AssertionError(self.seen)

    def status(self) -> int:
        """Its exit status."""
        return os.waitstatus_to_exitcode(self.ended())

    def close(self) -> None:
        """End it."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def _read(self) -> bool:
        data = os.read(self.fd, 65536)
        self.seen += data.decode(errors="replace")
        return bool(data)
