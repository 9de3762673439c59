"""Watches over a checkpoint from a process of its own, and mends the guest if the first one dies.

    python -m host_service.qemu.keeper SOCKET

The process that takes the checkpoint says over SOCKET, a descriptor, how far it is, a JSON object a
line, and each is answered by an empty line when it is taken in. If the connection ends before it
said "over", this process puts back what was put aside, lets the guest go on, and removes what was
written. It has nothing to do with terminals, and signals that end others do not end it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host_service.errors import HostError
from host_service.qemu.memory import Backing, GuestMemory, Part
from host_service.qemu.monitor import Monitor
from host_service.qemu.processes import start_time
from host_service.qemu.stash import Stash

__all__ = ["Keeper", "KeeperLost", "give_up_saving", "main"]

_SECONDS = 30.0
_STEP_SECONDS = 0.02
_MOST_TRIES = 60


class KeeperLost(Exception):
    """It is gone: without it nothing may be taken out of a guest."""


class Keeper:
    """The other end: starts the keeper, and tells it."""

    def __init__(self, facts: Mapping[str, Any], fds: list[int]) -> None:
        """`facts` as in `_Watch`; `fds` are the descriptors that it names. Raises KeeperLost."""
        self._socket, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "host_service.qemu.keeper", str(theirs.fileno())]
        with theirs:
            # With our path of modules, whatever folder we are in.
            path = os.pathsep.join(entry for entry in sys.path if entry)
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno(), *fds],
                env={**os.environ, "PYTHONPATH": path},
                cwd="/",
            )
        self._socket.settimeout(_SECONDS)
        self.tell(**facts)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, **news: Any) -> None:
        """Let it know; returns when it does. Raises KeeperLost."""
        try:
            self._socket.sendall(json.dumps(news).encode() + b"\n")
            if self._socket.recv(1) == b"\n":
                return
        except OSError:
            pass
        raise KeeperLost

    def close(self, *, over: bool = True) -> None:
        """It is over, and the guest goes on by itself; or it is for the keeper to see to that."""
        if over:
            with contextlib.suppress(KeeperLost):
                self.tell(over=True)
        self._socket.close()
        if not over:
            # It speaks to QEMU once nobody else does.
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SECONDS)


class _Watch:
    """What is known of a checkpoint under way.

    `monitor`: QMP's path. `pid`, `started`: QEMU's process. `parts`, `files`: of GuestMemory.
    `mailbox`: its GPA. `stash`: a descriptor. `temporary`: a file to remove. Later `asked`: the
    guest was told to park; `kept`: all is in the stash; `disks`: snapshots that were begun, as
    (device, name).
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {"asked": False, "kept": False, "disks": []}

    def mend(self) -> None:
        """Make the guest go on as if nothing had been."""
        facts = self.facts
        with contextlib.suppress(OSError):
            Path(facts["temporary"]).unlink(missing_ok=True)
        if start_time(facts["pid"]) != facts["started"]:
            return
        with self._monitor() as monitor:
            give_up_saving(monitor)
            parts = [Part(*part) for part in facts["parts"]]
            files = {name: Backing(*file) for name, file in facts["files"].items()}
            with GuestMemory(parts, files) as memory:
                if facts["kept"]:
                    stash = Stash(facts["stash"])
                    stash.put_back(memory)
                    stash.wipe()
                if facts["asked"]:
                    self._let_go(memory)
            if monitor.status() != "running":
                monitor.ask("cont")
            # Once it runs: before, QEMU has let go of its disks.
            for device, name in facts["disks"]:
                with contextlib.suppress(HostError):
                    monitor.ask("blockdev-snapshot-delete-internal-sync", device=device, name=name)

    def _monitor(self) -> Monitor:
        """The connection; who held it is only just gone."""
        for left in reversed(range(_MOST_TRIES)):
            try:
                return Monitor(Path(self.facts["monitor"]))
            except HostError:
                if not left:
                    raise
                time.sleep(0.5)
        raise AssertionError

    def _let_go(self, memory: GuestMemory) -> None:
        from host_service.qemu.handshake import Guest, mailboxes

        for mailbox in mailboxes(memory):
            Guest(memory, mailbox).let_go()


def give_up_saving(monitor: Monitor, seconds: float = _SECONDS) -> None:
    """Cancel a migration that is under way, and wait until it is over. Raises HostError."""
    end = time.monotonic() + seconds
    over = ("none", "completed", "failed", "cancelled", None)
    told = False
    while monitor.ask("query-migrate").get("status") not in over:
        if not told:
            monitor.ask("migrate_cancel")
            told = True
        if time.monotonic() > end:
            raise HostError("QEMU does not let go of the guest's memory")
        time.sleep(_STEP_SECONDS)


def main(argv: list[str]) -> int:
    """Watch until it is over, or until there is nobody any more; 0."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    watch = _Watch()
    held = None
    with socket.socket(fileno=int(argv[0])) as end, end.makefile("rb") as lines:
        for line in lines:
            try:
                news = json.loads(line)
            except ValueError:
                break
            watch.facts |= news
            if news.get("filled") and held is None:
                # From here on it cannot be swapped out, whoever of us lives.
                held = Stash(watch.facts["stash"])
            with contextlib.suppress(OSError):
                end.sendall(b"\n")
            if news.get("over"):
                return 0
    watch.mend()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
