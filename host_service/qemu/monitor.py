"""The QMP connection to one VM, step by step: the library's client, driven to each answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from host_service.errors import HostError

__all__ = ["Monitor"]

_SECONDS = 60.0
_CONNECT_SECONDS = 5.0

_T = TypeVar("_T")


class Monitor:
    """A connection to the QMP socket at that path.

    Raises:
        HostError: nobody listens there, or somebody else is connected: QEMU has one at a time.
    """

    def __init__(self, path: Path, vm: str = "") -> None:
        try:
            from qemu.qmp import QMPClient
            from qemu.qmp.error import QMPError
        except ModuleNotFoundError:
            cause = "the library qemu.qmp is not installed"
            raise HostError(cause, vm, "pip install sparc[qemu]") from None
        self._vm = vm
        self._errors = QMPError
        self._client: Any = QMPClient("sparc")
        self._client.logger.disabled = True
        self._loop = asyncio.new_event_loop()
        # What is wrong is raised where it is asked for, not written to the terminal as well.
        self._loop.set_exception_handler(lambda *_: None)
        try:
            self._run(self._client.connect(str(path)), _CONNECT_SECONDS)
        except TimeoutError:
            self.close()
            raise HostError(
                f"QEMU does not answer at {path}", vm, "let go of it who else is connected to it"
            ) from None
        except (QMPError, OSError) as error:
            self.close()
            raise HostError(f"QEMU cannot be reached at {path}: {_words(error)}", vm) from None

    def _run(self, what: Coroutine[Any, Any, _T], seconds: float) -> _T:
        return self._loop.run_until_complete(asyncio.wait_for(what, seconds))

    def close(self) -> None:
        """QEMU goes on as it is."""
        if not self._loop.is_closed():
            with contextlib.suppress(Exception):
                self._run(self._client.disconnect(), _CONNECT_SECONDS)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """What QEMU returns. Raises HostError with QEMU's own words."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            return self._run(self._client.execute(command, named or None), _SECONDS)
        except TimeoutError:
            raise HostError(f"QEMU does not answer to {command}", self._vm) from None
        except (self._errors, OSError) as error:
            raise HostError(f"QEMU says to {command}: {_words(error)}", self._vm) from None

    def human(self, line: str) -> str:
        """What the monitor for people prints."""
        return str(self.ask("human-monitor-command", command_line=line))

    def give(self, fd: int, name: str) -> None:
        """Let QEMU have a descriptor, to be called by that name. Raises HostError."""
        self._client.send_fd_scm(fd)
        self.ask("getfd", fdname=name)

    def version(self) -> str:
        """QEMU's own, as in 7.2.22."""
        found = self.ask("query-version")["qemu"]
        return f"{found['major']}.{found['minor']}.{found['micro']}"

    def status(self) -> str:
        """`running`, `paused`, `postmigrate` or whatever else QEMU calls it."""
        return str(self.ask("query-status")["status"])


def _words(error: Exception) -> str:
    said = str(error) or type(error).__name__
    return said.splitlines()[0]
