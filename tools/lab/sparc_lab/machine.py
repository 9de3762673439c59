"""What can be done with a virtual machine of the lab, whichever hypervisor runs it."""

from __future__ import annotations

import json
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .agent import EXCHANGE_BYTES, Agent, Result
from .build import KERNELS
from .errors import LabError, NotRunning, StartError, UsageError
from .keyboard import Stroke, console_switch, strokes
from .processes import Process
from .sandbox import Sandbox, python_argv

__all__ = ["Machine", "Settings"]

_LINES = ("ttyS0", "ttyS1")
_KERNEL_SAYS = re.compile(r"\[ *\d+\.\d{6}\] ")
_LAST_WORDS = 8
_TERMINALS = ("ttyS0", "tty1", "tty2")


@dataclass(frozen=True)
class Settings:
    """How a machine is made.

    Attributes:
        name: its own.
        hypervisor: ``virtualbox``, ``qemu``, or ``hm``: VirtualBox with hardware virtualisation.
        memory: MB.
        cpus: number of virtual CPUs.
        counted: under QEMU, its clock goes on by a nanosecond with each instruction.
        low: under QEMU, MB of memory below 4 GB; what is more lies above.
        shared: under QEMU, its memory is in a file that other processes can map.
        newest: under QEMU, that is Debian sid's, and not bookworm's.
        kernel: one of ``KERNELS``; other ones than ``lab`` only under QEMU, for they are large.
    """

    name: str
    hypervisor: str
    memory: int = 128
    cpus: int = 1
    kernel: str = "lab"
    counted: bool = False
    low: int = 3072
    shared: bool = False
    newest: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", self.name):
            raise UsageError(f"{self.name!r} cannot be a name: letters, digits, '.', '_', '-'")
        most = 65536 if self.counted else 16384
        if not 16 <= self.memory <= most:
            raise UsageError(f"memory is 16 to {most} MB")
        if not 1 <= self.cpus <= 8:
            raise UsageError("a machine has 1 to 8 CPUs")
        if self.kernel not in KERNELS:
            raise UsageError(f"no kernel {self.kernel!r}: {', '.join(KERNELS)}")
        if self.hypervisor != "qemu" and self.kernel != "lab":
            raise UsageError("kernels other than the lab's own boot under QEMU only")
        if self.counted and (self.hypervisor, self.cpus) != ("qemu", 1):
            raise UsageError("instructions are counted under QEMU, of one CPU")
        if (self.shared or self.newest) and self.hypervisor != "qemu":
            raise UsageError("only QEMU's memory can be shared, and only QEMU be the newest")


class Machine(ABC):
    """A virtual machine whose files are in ``folder``, running in ``sandbox``."""

    strokes_at_once: int
    """How many key strokes its keyboard controller's queue surely takes."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        self.settings = settings
        self.name = settings.name
        self.sandbox = sandbox
        self.folder = sandbox.files / settings.name
        self.agent = Agent(self.folder)

    # -- what the hypervisors do each in their own way

    @abstractmethod
    def start(self, timeout: float) -> None:
        """Start it, from a saved state if it has one; return when its agent answers."""

    @abstractmethod
    def state(self) -> str:
        """``running``, ``paused``, ``saved``, ``off``, ``aborted`` or ``absent``."""

    @abstractmethod
    def press(self, keys: Iterable[Stroke]) -> None:
        """Press and release keys."""

    @abstractmethod
    def screenshot(self, target: Path) -> None:
        """Write what the guest's screen shows to a PNG file."""

    @abstractmethod
    def core(self, target: Path) -> None:
        """Write the guest's memory as the ELF core that the hypervisor makes."""

    @abstractmethod
    def power_off(self) -> None:
        """Cut its power; nothing happens if it is off."""

    @abstractmethod
    def discard(self) -> None:
        """Make the hypervisor forget it."""

    def checkpoints(self) -> dict[str, Path]:
        """The saved state of each checkpoint by the checkpoint's name, oldest first."""
        return {}

    # -- what is the same for all

    def run(self, argv: Sequence[str], timeout: float = 120) -> Result:
        """Run a program in the guest, ``timeout`` in seconds."""
        self.require("running")
        return self.agent.run(argv, timeout)

    def shell(self, script: str, timeout: float = 120) -> Result:
        """Run a bash script in the guest, ``timeout`` in seconds."""
        self.require("running")
        return self.agent.shell(script, timeout)

    def put(self, source: Path, target: str) -> None:
        """Copy a file into the guest."""
        self.require("running")
        if not source.is_file():
            raise UsageError(f"{source} is not a file")
        self.agent.put(source, target)

    def get(self, source: str, target: Path) -> None:
        """Copy a file out of the guest."""
        self.require("running")
        self.agent.get(source, target)

    def type(self, terminal: str, text: str) -> None:
        """Type at a guest terminal: with the keyboard at ``tty1``..., on the line at ``ttyS0``.

        Each newline is an Enter. The text goes neither into logs nor into arguments.
        """
        self.require("running")
        if terminal == "ttyS0":
            self.agent.type_line(text)
            return
        console = re.fullmatch(r"tty([1-9]\d?)", terminal)
        if console is None:
            raise UsageError(f"{terminal!r} is no terminal of the guest: tty1, tty2 or ttyS0")
        keys = list(strokes(text))
        self.press([console_switch(int(console[1]))])
        time.sleep(1)
        for first in range(0, len(keys), self.strokes_at_once):
            self.press(keys[first : first + self.strokes_at_once])
            time.sleep(0.1)

    def require(self, *states: str) -> None:
        """
        Raises:
            NotRunning: the machine is in another state than the given ones.
        """
        state = self.state()
        if state not in states:
            raise NotRunning(self.name, state)

    def prepare_folder(self, phase: str) -> None:
        """Lay out an empty folder with an exchange disk, known to later runs from the first."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True)
        (self.folder / "run").mkdir()
        self.save_settings(phase)
        with (self.folder / "exchange.raw").open("wb") as file:
            file.truncate(EXCHANGE_BYTES)

    def start_relay(self) -> None:
        """Keep the guest's serial lines read from now on."""
        if self.recorded("relay") is None:
            argv = python_argv("sparc_lab.relay", str(self.folder), *_LINES)
            self.spawn("relay", None, argv)

    def spawn(self, what: str, tree: str | None, argv: Sequence[str], **env: str) -> Process:
        """Start one of the machine's own processes and record it."""
        process = self.sandbox.spawn(tree, argv, log=self.folder / "run" / f"{what}.log", env=env)
        process.record(self.folder / "run" / f"{what}.json")
        return process

    def recorded(self, what: str) -> Process | None:
        """One of the machine's own processes, if it is alive."""
        return Process.recorded(self.folder / "run" / f"{what}.json")

    def save_settings(self, phase: str) -> None:
        """Remember how it was made, and whether it came ``up`` or is still ``starting``."""
        path = self.folder / "run" / "machine.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({**asdict(self.settings), "phase": phase}))
        new.replace(path)

    def remove(self) -> None:
        """End it and everything that was started for it, and remove its files."""
        if self.sandbox.holder() is not None:
            try:
                self.power_off()
                self.discard()
            except LabError:
                pass  # Half-made or damaged: its processes and files go all the same.
            for record in (self.folder / "run").glob("*.json"):
                if process := Process.recorded(record):
                    process.end(grace=1)
        shutil.rmtree(self.folder, ignore_errors=True)

    def await_agent(self, process: Process, timeout: float) -> None:
        """Return when the guest answers.

        Raises:
            StartError: the hypervisor's ``process`` ended, or ``timeout`` seconds are over.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                self.agent.wait(5)
                self._await_shells(max(5.0, end - time.monotonic()))
                return
            except LabError as error:
                if not process.alive():
                    raise StartError(
                        f"{self.name} ended while starting", self.evidence()
                    ) from error
                if time.monotonic() > end:
                    message = f"{self.name} did not answer within {timeout:.0f} s"
                    raise StartError(message, self.evidence()) from error

    def _await_shells(self, timeout: float) -> None:
        """Return when each terminal has its shell: what is typed before is lost."""
        shells = " && ".join(f"[ -e /run/lab/shell-{name} ]" for name in _TERMINALS)
        result = self.agent.shell(f"until {shells}; do sleep 0.2; done", timeout)
        if result.status:
            raise StartError(f"{self.name} opened no terminals", self.evidence())

    def evidence(self) -> str:
        """Why it may not do as it should: the last of its kernel's words, and where to look.

        Nothing of what is typed at its terminals or printed by programs.
        """
        logs = [self.folder / f"{line}.log" for line in _LINES]
        words = "".join(log.read_text(errors="replace") for log in logs if log.exists())
        said = [line.rstrip() for line in words.splitlines() if _KERNEL_SAYS.match(line)]
        return "\n".join([f"its console and logs are in {self.folder}", *said[-_LAST_WORDS:]])
