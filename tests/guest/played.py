"""A VM of a real QEMU with no guest in it but one that is played: for what goes wrong on the host.

It costs nothing to run: its processor stands still when the firmware has found nothing to boot.
"""

from __future__ import annotations

import contextlib
import threading
import time

from parked import PAGE, parked
from sparc_lab import Lab

from host_service.errors import HostError
from host_service.qemu import processes
from host_service.qemu.memory import GuestMemory, backings, parts_of
from host_service.qemu.monitor import Monitor
from sparc import abi
from sparc.abi import Display, Reason, Request, State

__all__ = ["CANARY", "FREE", "PART", "SECRET", "STASHED", "Bare", "Played"]

_MB = 64
# As `parked` places it; the firmware leaves that alone, once it stands still.
_MAILBOX = 16 * PAGE
_SETTLED_SECONDS = 1.5
SECRET = b"a secret of nobody's, %d"
FREE, STASHED, CANARY, PART = range(1200, 1232), range(1300, 1316), 1320, 1400


class Bare:
    """A QEMU of the lab without a guest: `tree` is whose, `shared` whether its memory is."""

    def __init__(self, lab: Lab, tree: str, name: str, *, shared: bool = True) -> None:
        self.name = name
        self.lab = lab
        self.tree = tree
        files = lab.sandbox.files
        self.socket = files / f"{name}.sock"
        self.disk = files / f"{name}.qcow2"
        make = ["qemu-img", "create", "-q", "-f", "qcow2", str(self.disk), "16M"]
        # Of one version, whichever runs the machine.
        lab.sandbox.run("tools", make)
        self.argv = [
            *("qemu-system-x86_64", "-name", name, "-nodefaults", "-display", "none"),
            *("-accel", "tcg", "-vga", "std", "-m", str(_MB), "-device", "e1000"),
            *("-drive", f"file={self.disk},format=qcow2,if=ide"),
            *("-qmp", f"unix:{self.socket},server=on,wait=off"),
        ]
        if shared:
            memory = f"memory-backend-memfd,id=ram0,size={_MB}M,share=on"
            self.argv += ["-object", memory, "-machine", "pc,memory-backend=ram0"]
        self.start(self.argv)
        time.sleep(_SETTLED_SECONDS)

    def start(self, argv: list[str]) -> None:
        """Start it; returns when it can be spoken to."""
        self.socket.unlink(missing_ok=True)
        log = self.lab.sandbox.files / f"{self.name}.log"
        process = self.lab.sandbox.spawn(self.tree, argv, log=log)
        end = time.monotonic() + 30
        while not self.socket.exists():
            assert time.monotonic() < end and process.alive(), log.read_text()
            time.sleep(0.05)

    def qmp(self, command: str, **arguments: object) -> object:
        """Ask QEMU."""
        with Monitor(self.socket) as monitor:
            return monitor.ask(command, **arguments)

    def status(self) -> str:
        """How QEMU calls it."""
        with Monitor(self.socket) as monitor:
            return monitor.status()

    def quit(self) -> None:
        """End the one that runs now, and wait for that."""
        process = processes.find(self.name)
        assert process is not None and process.monitor is not None
        with Monitor(process.monitor) as monitor, contextlib.suppress(HostError):
            monitor.ask("quit")
        end = time.monotonic() + 20
        while processes.start_time(process.pid) == process.started:
            assert time.monotonic() < end
            time.sleep(0.05)

    def end(self) -> None:
        """Cut its power, whoever started it."""
        if processes.find(self.name) is not None:
            self.quit()


class Played:
    """What plays a guest with the module in a VM's memory; `fails` makes it refuse to park, and
    `display` is what it asks for of the screen.

    `restored`: how often it was let go with its canary gone.
    """

    def __init__(
        self, bare: Bare, *, fails: Reason | None = None, display: Display = Display.KEEP
    ) -> None:
        self.fails = fails
        self.display = display
        self.silent = False
        self.restored = 0
        self.resumed = 0
        self._stack = contextlib.ExitStack()
        process = processes.find(bare.name)
        assert process is not None
        with Monitor(bare.socket) as monitor:
            files = self._stack.enter_context(backings(monitor, process))
            parts = parts_of(monitor, files)
        self.memory = self._stack.enter_context(GuestMemory(parts, files))
        for page in (*FREE, *STASHED, CANARY, PART):
            self.memory.write(page * PAGE, (SECRET % page).ljust(PAGE, b"."))
        self._write(1, State.IDLE)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The VM is left as it is."""
        self._over.set()
        self._thread.join()
        self._stack.close()

    def content(self) -> list[bytes]:
        """What it has that is not free."""
        return [self.memory.read(page * PAGE, PAGE) for page in (*STASHED, CANARY, PART)]

    def _write(self, sequence: int, state: State) -> None:
        """The mailbox and its manifest."""
        extents = [(PART * PAGE + 100, 200, abi.Kind.PIPE)]
        made = parked(
            2048,
            FREE,
            [*STASHED],
            extents,
            canary=CANARY,
            state=state,
            head={"sequence": sequence, "display": self.display},
        )
        for page, data in made.items():
            self.memory.write(page * PAGE, data)
        self.word(sequence, state)

    def word(self, sequence: int, state: State) -> None:
        """Say so."""
        self.memory.store(_MAILBOX + 128, abi.word(sequence, state))

    def _play(self) -> None:
        last = 0
        while not self._over.wait(0.005):
            request = self.memory.load(_MAILBOX + 256)
            if request == last or self.silent:
                continue
            last, sequence = request, abi.sequence_of(request)
            match abi.what_of(request):
                case Request.PREPARE if self.fails is not None:
                    data = abi.Status.build({**_FAILED, "reason": self.fails})
                    self.memory.write(_MAILBOX + 136, data[8:])
                    self.word(sequence, State.FAILED)
                case Request.PREPARE:
                    self._write(sequence, State.PARKED)
                    self.memory.store(_MAILBOX + 256, request)
                case Request.RESUMED:
                    gone = not any(self.memory.read(CANARY * PAGE, PAGE))
                    self.restored, self.resumed = self.restored + gone, self.resumed + (not gone)
                    self.word(sequence, State.IDLE)


_FAILED = {
    "word": 0,
    "reason_pid": 7,
    "reason_comm": b"stuck".ljust(abi.COMM_LEN, b"\0"),
    "armed": 1,
    "members": 1,
    "heartbeat": 1,
}
