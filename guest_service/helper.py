"""Work done in a child of the service: it may take long, and may be killed.

Besides, what the child reads of other processes (names of files, addresses) is not in the
service's memory afterwards, and so not in a checkpoint: the child's is free when it has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Callable

__all__ = ["Failed", "LateError", "Later", "run"]

_MOST = 1 << 24
_STANDARD = 3
_MAX_FD = 1 << 20
# Seconds for a child to end, once it is done or killed.
_END = 2.0


class Failed(Exception):
    """The work could not be done: a `code`, and numbers or words for people as `fields`."""

    def __init__(self, code: str, **fields: object) -> None:
        super().__init__(code, fields)
        self.code = code
        self.fields = fields


class LateError(Failed):
    """It took too long, and was ended."""

    def __init__(self) -> None:
        super().__init__("late")


def run(work: Callable[[], object], seconds: float) -> object:
    """What `work` returns, as JSON makes it. Raises Failed: what the work raised, or what ended it.

    Codes besides the work's own: late, system (`errno`), died.
    """
    later = Later(work, seconds)
    try:
        return later.wait()
    finally:
        later.end()


class Later:
    """The same, without waiting: `fd` can be read from when there is something for `ready`.

    `deadline` is a time of time.monotonic(). Raises OSError: there is no child.
    """

    def __init__(self, work: Callable[[], object], seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self._told = bytearray()
        self._whole = False
        self.fd, sink = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self.fd)
            os.close(sink)
            raise
        if self._pid == 0:
            _child(work, sink)
        os.close(sink)
        self._pidfd = _pidfd(self._pid)

    def ready(self) -> bool:
        """Take what can be read now; whether that is all, so that `wait` does not wait."""
        part = os.read(self.fd, 1 << 16)
        self._told += part
        self._whole = not part or len(self._told) >= _MOST
        return self._whole

    def wait(self) -> object:
        """What the work returned, waited for until the deadline. Raises Failed, as `run` does."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        while not self._whole:
            if not poll.poll(max(0.0, self.deadline - time.monotonic()) * 1000):
                raise LateError
            self.ready()
        try:
            reply = json.loads(self._told)
        except ValueError:
            raise Failed("died") from None
        if "failed" in reply:
            raise Failed(reply["failed"], **reply["fields"])
        result: object = reply["done"]
        return result

    def end(self) -> None:
        """Leave no child behind, even one that is not done.

        One in the middle of what the kernel does not break off (it may wait for a file system of
        some user's) is not waited for: it ends when it can.
        """
        os.close(self.fd)
        if self._pidfd is not None:
            if not self._whole:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            poll.poll(_END * 1000)
            os.close(self._pidfd)
        # With SIGCHLD ignored, as in the service, there is nothing to be had.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, os.WNOHANG)


def _child(work: Callable[[], object], sink: int) -> None:
    status = 1
    try:
        # /dev/sparc and the clients' sockets: their ends are to be seen when the service dies.
        os.closerange(_STANDARD, sink)
        os.closerange(sink + 1, _MAX_FD)
        reply: dict[str, object]
        try:
            reply = {"done": work()}
        except Failed as failed:
            reply = {"failed": failed.code, "fields": failed.fields}
        except OSError as error:
            reply = {"failed": "system", "fields": {"errno": error.errno}}
        data = memoryview(json.dumps(reply).encode())
        while data:
            data = data[os.write(sink, data) :]
        status = 0
    finally:
        os._exit(status)


def _pidfd(pid: int) -> int | None:
    """A child that was just made; None if it has ended already, or else it is killed."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return None
