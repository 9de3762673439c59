"""A lock on a VM, and what takes its time under it: let go of, and told of, in any case."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from host_service.virtualbox.connection import VirtualBoxError, connect, translated
from host_service.virtualbox.machine import Machine

__all__ = ["Tell", "finish", "locked", "opened", "signals_held"]

Tell = Callable[[int, int], None]
"""Is told of progress: (done, total)."""

_STEP_MS = 100
_CANCEL_SECONDS = 60.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def opened(machine: Machine) -> Iterator[tuple[Any, threading.Event]]:
    """A session, to be locked or to start the VM with; and an event, set when we are to stop.

    Until its end Ctrl-C and its like raise nothing: they set the event, so that no lock is kept and
    nothing is left half-way without a word. Errors of VirtualBox become VirtualBoxError.
    """
    manager, box = connect()
    with signals_held() as stop, translated(machine.name):
        session = manager.getSessionObject(box)
        try:
            yield session, stop
        finally:
            with contextlib.suppress(Exception):
                session.unlockMachine()


@contextlib.contextmanager
def locked(machine: Machine) -> Iterator[tuple[Any, threading.Event]]:
    """The same, with a lock on the VM that it shares with the VM's process."""
    with opened(machine) as (session, stop):
        machine.handle.lockMachine(session, connect()[0].constants.LockType_Shared)
        yield session, stop


def finish(
    progress: Any, machine: Machine, stop: threading.Event, tell: Tell | None = None
) -> None:
    """Wait for an IProgress; cancel it if we are to `stop`. It returns where it succeeded even so.

    Raises:
        VirtualBoxError: it failed or was cancelled, with VirtualBox's reason; or it goes on still.
    """
    deadline = None
    while not progress.completed:
        progress.waitForCompletion(_STEP_MS)
        if tell is not None:
            tell(int(progress.percent), 100)
        if stop.is_set() and deadline is None:
            deadline = time.monotonic() + _CANCEL_SECONDS
            # Refused where it is nearly done: then it will be.
            with contextlib.suppress(Exception):
                progress.cancel()
        if deadline is not None and time.monotonic() > deadline:
            raise VirtualBoxError(
                "interrupted, but VirtualBox cannot cancel it and still works on it", machine.name
            )
    if progress.resultCode != 0:
        if progress.canceled:
            raise VirtualBoxError("interrupted: it was cancelled", machine.name)
        said = progress.errorInfo
        code = progress.resultCode & 0xFFFFFFFF
        words = str(said.text) if said else f"it failed without a word but {code:#010x}"
        raise VirtualBoxError(words, machine.name)


@contextlib.contextmanager
def signals_held() -> Iterator[threading.Event]:
    """Until the end, what would stop this process sets the event instead."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
