"""sparc-guestd: the one who has /dev/sparc open.

A single thread that waits for the module and for clients, and for nothing else.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from guest_service import cgroups
from guest_service.checkpoint import Checkpoints
from guest_service.commands import Commands
from guest_service.device import Device, DeviceError
from guest_service.freezer import Freezer
from guest_service.history import History
from guest_service.log import Log
from guest_service.protocol import SOCKET
from guest_service.record import Record
from guest_service.ruling import Ruling
from guest_service.server import Server
from guest_service.swap import Swap
from sparc.wire import EventType

__all__ = ["USAGE", "Service", "main"]

_RUN = os.path.dirname(SOCKET)
_FREEZE_SECONDS = 2.0
_FAILED = 2
# The unit does not try again then: udev starts it when the module is there.
_NO_MODULE = 5
_WALL_BYTES = 4000

USAGE = """\
Usage: sparc-guestd

Keeps excluded processes out of checkpoints: does what `sparc exclude` and its
kin ask for, and freezes the others while a checkpoint is taken. Runs as root,
in the foreground, until SIGTERM; at SIGHUP it reads the rules again, see
/etc/sparc/exclude.d and ~/.config/sparc/exclude.toml.

Environment: SPARC_FREEZE_SECONDS, how long freezing may take (default 2);
SPARC_READY_FD, a descriptor to write a line to when it is ready.
"""

_WORDS = {
    "no-module": "the kernel module is not loaded: modprobe sparc",
    "in-use": "/dev/sparc is in use: another sparc-guestd is running",
    "refused": "/dev/sparc opens for root only, and not for a process that is excluded itself",
    "abi": "the kernel module is of another version (ABI {}): install both from one release",
    "device": "/dev/sparc cannot be used: {}",
    "no-cgroup": "no version 2 cgroups: mount -t cgroup2 none /sys/fs/cgroup",
    "seconds": "SPARC_FREEZE_SECONDS is not a number of seconds above 0",
}


class Service:
    """The main loop over what `main` put together; it owns none of it."""

    def __init__(
        self,
        device: Device,
        checkpoints: Checkpoints,
        commands: Commands,
        socket: str = SOCKET,
        rules: Ruling | None = None,
        poll: select.poll | None = None,
    ) -> None:
        """`poll` is the one that `rules` uses."""
        self._device = device
        self._checkpoints = checkpoints
        self._rules = rules
        self._poll = select.poll() if poll is None else poll
        self._poll.register(device.fd, select.POLLIN)
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._wake, select.POLLIN)
        self._server = Server(socket, commands.run, self._poll)

    def close(self) -> None:
        """No more clients."""
        self._server.close()
        os.close(self._wake)
        os.close(self._waker)

    def stop(self) -> None:
        """Make `run` return after what it is doing. For signal handlers and other threads."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"x")

    def reload(self) -> None:
        """Read the rules again. For signal handlers and other threads."""
        if self._rules is not None:
            self._rules.reload()
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b"r")

    def run(self) -> None:
        """Serve until `stop`."""
        while True:
            ready = [fd for fd, _ in self._poll.poll(self._timeout())]
            # A checkpoint goes first: the host waits.
            if self._device.fd in ready:
                self._events()
            if self._wake in ready and b"x" in os.read(self._wake, 4096):
                return
            for fd in ready:
                if fd not in (self._device.fd, self._wake) and not self._applied(fd):
                    self._server.ready(fd)
            self._server.expire()
            self._expire_rules()

    def _timeout(self) -> float | None:
        times = [self._server.timeout(), self._rules.timeout() if self._rules else None]
        return min((time for time in times if time is not None), default=None)

    def _applied(self, fd: int) -> bool:
        """Whether it was for the rules."""
        if self._rules is None:
            return False
        started = time.monotonic()
        found = self._rules.ready(fd)
        if found:
            self._server.pause(time.monotonic() - started)
        return found

    def _expire_rules(self) -> None:
        if self._rules is not None:
            started = time.monotonic()
            self._rules.expire()
            self._server.pause(time.monotonic() - started)

    def _events(self) -> None:
        events = self._device.events()
        forgotten = {e.sequence for e in events if e.type == EventType.ABANDONED}
        for event in events:
            if event.type == EventType.PREPARE and event.sequence not in forgotten:
                started = time.monotonic()
                restored = self._checkpoints.prepare(event.sequence)
                self._server.pause(time.monotonic() - started)
                if restored:
                    self._restored(event.sequence)

    def _restored(self, sequence: int) -> None:
        killed = []
        # The module has queued them before the park was over.
        while events := self._device.events():
            killed += [event for event in events if event.type == EventType.KILLED]
        told = self._checkpoints.killed(sequence, killed)
        if self._rules is not None:
            self._rules.restored([event.pid for event in killed])
        if told:
            _wall("this machine was restored from a checkpoint; ended: " + ", ".join(told))


def _wall(text: str) -> None:
    """Tell everybody who is logged in; nobody waits for it."""
    program = "/usr/bin/wall"
    if not os.access(program, os.X_OK):
        return
    source, sink = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    with contextlib.suppress(OSError):
        os.write(sink, f"sparc: {text}\n".encode(errors="replace")[:_WALL_BYTES])
        os.posix_spawn(
            program,
            [program],
            {"PATH": os.defpath},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, source, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigdef=[signal.SIGCHLD, signal.SIGPIPE],
        )
    os.close(source)
    os.close(sink)


def _ready() -> None:
    """Tell whoever started this that it is ready, in the way that he asks for."""
    _notify(b"READY=1")
    number = os.environ.pop("SPARC_READY_FD", "")
    if number.isdigit():
        with contextlib.suppress(OSError):
            os.write(int(number), b"\n")
            os.close(int(number))


def _notify(state: bytes) -> None:
    """Tell systemd, if it is there and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    import socket

    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        notify.sendto(state, address)


def _fail(code: str, detail: str = "") -> int:
    sys.stderr.write(f"sparc-guestd: {_WORDS[code].format(detail)}\n")
    return _NO_MODULE if code == "no-module" else _FAILED


def _seconds() -> float:
    """How long freezing may take. Raises ValueError."""
    seconds = float(os.environ.get("SPARC_FREEZE_SECONDS") or _FREEZE_SECONDS)
    if not 0 < seconds < 3600:
        raise ValueError
    return seconds


def main() -> int:
    """Run until SIGTERM; 0, or 2 if it could not start, 5 if that is for want of the module."""
    if sys.argv[1:]:
        sys.stdout.write(USAGE)
        return 0 if sys.argv[1] in ("-h", "--help") else _FAILED
    try:
        seconds = _seconds()
    except ValueError:
        return _fail("seconds")
    root = cgroups.mount_point()
    if root is None:
        return _fail("no-cgroup")
    try:
        device = Device()
    except DeviceError as error:
        return _fail(error.code, error.detail)
    os.makedirs(_RUN, mode=0o755, exist_ok=True)
    # With systemd, each process has its place in the tree and is put back there.
    keep = not os.path.isdir("/run/systemd/system")
    record = Record(f"{_RUN}/frozen")
    freezer = Freezer(root, record, keep=keep, hand_over=device.freezes)
    history = History(f"{_RUN}/history")
    log = Log()
    swap = Swap(f"{_RUN}/swap")
    swap.recover()
    freezer.prepare()
    commands = Commands(device, history, root, swap)
    poll = select.poll()
    rules = commands.rules = Ruling(commands.apply, log, poll)
    checkpoints = Checkpoints(device, freezer, history, log, seconds, swap, rules)
    service = Service(device, checkpoints, commands, rules=rules, poll=poll)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, lambda *_: service.reload())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    log.note(f"started (abi {device.version})")
    rules.begin()
    _ready()
    try:
        service.run()
    finally:
        _notify(b"STOPPING=1")
        service.close()
        rules.close()
        freezer.close()
        device.thawed()
        device.close()
    log.note("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
