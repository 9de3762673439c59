"""A lab machine under stock VirtualBox, driverless: every guest instruction is interpreted."""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from . import window
from .agent import EXCHANGE_BYTES
from .build import Parts
from .errors import CommandError, LabError, NoSuchCheckpoint, StartError, UsageError
from .keyboard import Stroke
from .machine import Machine, Settings
from .processes import Process, wait_for
from .sandbox import Sandbox
from .vboxmanage import HARDWARE, INSTALLED, TREE, Installation, internals

__all__ = ["CHECKPOINT_WAYS", "STORED", "VirtualBoxMachine"]

CHECKPOINT_WAYS = ("gui", "vboxmanage", "api", "live", "savestate")

_STATE, _DISK = STORED = ("booted.sav", "root.vdi")
_CONTROLLER = "IDE"

_UARTS = (("--uart1", "0x3F8", "4", "ttyS0"), ("--uart2", "0x2F8", "3", "ttyS1"))
_AT_REST = ("off", "saved", "aborted", "absent")
_LAUNCHES = 3
# Where and how VirtualBox Manager shows itself: its own extra data.
_MANAGER = {
    "LastWindowPosition": "0,0,900,480",
    "SplitterSizes": "200,650",
    "Tools/LastItemsSelected": "Machines,Snapshots",
    "SnapshotManager/Details/Expanded": "true",
}
_TELLING = re.compile(r"VERR_|Guest state|Changing the VM state|Signal|Assert|full")
_XML = "{http://www.virtualbox.org/}"


class VirtualBoxMachine(Machine):
    """A machine of the sandbox's own VirtualBox."""

    strokes_at_once = 6
    ways: tuple[str, ...] = CHECKPOINT_WAYS
    """How checkpoints of it can be taken."""
    launch_seconds = 40.0
    """After this long without a machine there is a dialog instead."""

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        super().__init__(settings, sandbox)
        self.installation = Installation(sandbox)

    def manage(self, *arguments: str) -> str:
        """Run VBoxManage; its output."""
        return self.installation.manage(*arguments)

    def create(
        self, parts: Parts, *, stored: Path | None = None, hardware: Sequence[str] = ()
    ) -> None:
        """Make it with a fresh root disk, or with disk and state that another one stored.

        ``hardware`` are more options of ``VBoxManage modifyvm``.
        """
        root = self.folder / "root.vdi"
        shutil.copy(stored / _DISK if stored else parts.disk, root)
        shutil.copy(parts.iso, self.folder / "boot.iso")
        _write_exchange_descriptor(self.folder)
        self.manage("internalcommands", "sethduuid", str(root))
        self.register(*HARDWARE, *hardware)
        for option, port, irq, line in _UARTS:
            mode = [option.replace("uart", "uartmode"), *self.uart_mode(line)]
            self.manage("modifyvm", self.name, option, port, irq, *mode)
        controller = ["--add", "ide", "--controller", "PIIX4", "--hostiocache", "on"]
        self.manage("storagectl", self.name, "--name", _CONTROLLER, *controller)
        self._attach("0", "0", "hdd", root)
        self._attach("0", "1", "hdd", self.folder / "exchange.vmdk", "--mtype", "writethrough")
        self._attach("1", "0", "dvddrive", self.folder / "boot.iso")
        if stored is not None:
            state = self.folder / "ready.sav"
            shutil.copy(stored / _STATE, state)
            self.manage("adoptstate", self.name, str(state))

    def uart_mode(self, line: str) -> list[str]:
        """What VirtualBox is to connect a serial line of the guest with, in its own words."""
        return ["server", str(self.folder / f"{line}.vm")]

    def register(self, *hardware: str) -> None:
        """Make VirtualBox know a machine of this name and size with the given settings."""
        base = ["--basefolder", str(self.sandbox.files), "--ostype", "Linux_64", "--register"]
        self.manage("createvm", "--name", self.name, *base)
        size = ["--memory", str(self.settings.memory), "--cpus", str(self.settings.cpus)]
        self.manage("modifyvm", self.name, *size, *hardware)
        for key, value in internals(self.settings).items():
            self.manage("setextradata", self.name, f"VBoxInternal/{key}", value)

    def launch(self, *options: str) -> Process:
        """Start its process in a window of its own."""
        variables = {"DISPLAY": self._display(), **self.installation.variables}
        argv = [f"{INSTALLED}/VirtualBoxVM", "--startvm", self.name, "--driverless", *options]
        return self.spawn("vm", TREE, argv, **variables)

    def start(self, timeout: float, *, paused: bool = False) -> None:
        """See `Machine.start`. If ``paused``, return when it is loaded and before it runs."""
        self.start_relay()
        process = self._launched(*["--start-paused"] * paused)
        try:
            if not paused:
                self.await_agent(process, timeout)
            elif not wait_for(lambda: self.state() == "paused", timeout=timeout, step=0.3):
                raise StartError(f"{self.name} did not start", self.evidence())
        except StartError:
            # VirtualBox shows failures in a dialog and waits for somebody to read it.
            process.end(grace=2)
            raise

    def _launched(self, *options: str) -> Process:
        """Start its process, anew if that shows a dialog instead of a machine."""
        for _ in range(_LAUNCHES):
            process = self.launch(*options)
            self._await_launch(process)
            if self.state() not in _AT_REST and process.alive():
                return process
            process.end(grace=2)
        raise StartError(f"VirtualBox does not start {self.name}", self.evidence())

    def _await_launch(self, process: Process) -> None:
        decided = lambda: self.state() not in _AT_REST or not process.alive()  # noqa: E731
        wait_for(decided, timeout=self.launch_seconds, step=0.3)

    def state(self) -> str:
        """See `Machine.state`."""
        words = self._information().get("State", "absent").split(" (since")[0]
        return "off" if words == "powered off" else words

    def _information(self) -> dict[str, str]:
        """What VirtualBox says of it, by VirtualBox's own words; empty if it knows none such."""
        if self.sandbox.holder() is None:
            return {}
        # showvminfo would lock the machine for a moment, and a start at that moment fails.
        for text in re.split(r"^(?=Name: )", self.manage("list", "--long", "vms"), flags=re.M):
            pairs = dict(re.findall(r"^([A-Z][\w ]*): +(.*)$", text, re.M))
            if pairs.get("Name") == self.name:
                return pairs
        return {}

    def pause(self) -> None:
        """Hold the guest's CPUs."""
        self.manage("controlvm", self.name, "pause")

    def resume(self) -> None:
        """Let a paused guest go on."""
        self.manage("controlvm", self.name, "resume")

    def press(self, keys: Iterable[Stroke]) -> None:
        """See `Machine.press`."""
        self.installation.api(
            self.name, "press", " ".join(f"{code}" for stroke in keys for code in stroke)
        )

    def screenshot(self, target: Path) -> None:
        """See `Machine.screenshot`."""
        image = self.folder / "screen.png"
        self.manage("controlvm", self.name, "screenshotpng", str(image))
        shutil.move(image, target)

    def window_screenshot(self, target: Path, title: str = "") -> None:
        """Write what VirtualBox's windows show to a PNG file, or only the one with that title."""
        image = self.folder / "window.png"
        variables = {"DISPLAY": self._display()}
        self.sandbox.run(TREE, ["import", "-window", title or "root", str(image)], env=variables)
        shutil.move(image, target)

    def core(self, target: Path) -> None:
        """Write the paused guest's memory as VirtualBox's own ELF core."""
        image = self.folder / "guest.core"
        self.manage("debugvm", self.name, "dumpvmcore", "--filename", str(image))
        shutil.move(image, target)

    def checkpoint(self, name: str, way: str = "vboxmanage") -> Path:
        """Take a checkpoint; the path of its saved state.

        After ``savestate`` the machine is off with its state saved, as that button leaves it.

        Raises:
            UsageError: no such way, or the name is taken.
        """
        if way not in self.ways:
            raise UsageError(f"no way {way!r}: {', '.join(self.ways)}")
        self.require("running", "paused")
        if name in self.checkpoints():
            raise UsageError(f"{self.name!r} already has a checkpoint {name!r}")
        if way == "vboxmanage":
            self.manage("snapshot", self.name, "take", name)
        elif way == "live":
            self.manage("snapshot", self.name, "take", name, "--live")
        elif way == "api":
            self.installation.api(self.name, "snapshot", name)
        elif way == "savestate":
            self.manage("controlvm", self.name, "savestate")
            self._await_process_end()
            self.manage("snapshot", self.name, "take", name)
        else:
            before = self.state()
            self.ask_in_window(name)
            done = lambda: name in self.checkpoints() and self.state() == before  # noqa: E731
            if not wait_for(done, timeout=300, step=0.2):
                raise LabError(f"VirtualBox's window took no snapshot {name!r}")
        return self.saved_state(name)

    def ask_in_window(self, name: str, look: Callable[[], None] | None = None) -> None:
        """Ask for a checkpoint in VirtualBox's window, and do not wait for it.

        ``look`` is called when all is filled in and only Ok has still to be clicked.
        """
        window.name_snapshot(self._xdotool, self.name, name)
        if look is not None:
            look()
        window.confirm_snapshot(self._xdotool)

    def cancel_in_window(self) -> None:
        """Cancel what `ask_in_window` has asked for."""
        window.cancel_snapshot(self._xdotool, self.name)

    def unfold_warning(self) -> None:
        """Have VirtualBox's window show all of a warning that it shows."""
        window.details_of_warning(self._xdotool, self.name)

    @contextlib.contextmanager
    def in_manager(self, name: str) -> Iterator[None]:
        """VirtualBox Manager over this machine's window, with a checkpoint of it selected."""
        place = list(self.checkpoints()).index(name)
        uuid = self._information()["UUID"]
        for key, value in {**_MANAGER, "LastItemSelected": f"m={uuid}"}.items():
            self.manage("setextradata", "global", f"GUI/{key}", value)
        variables = {"DISPLAY": self._display(), **self.installation.variables}
        manager = self.spawn("manager", TREE, [f"{INSTALLED}/VirtualBox"], **variables)
        try:
            window.select_snapshot(self._xdotool, place)
            yield
        finally:
            manager.end()

    def restore(self, name: str, timeout: float = 300, *, paused: bool = False) -> None:
        """Go back to a checkpoint and run from there, or if ``paused`` hold still there."""
        self.saved_state(name)
        self.power_off()
        self.manage("snapshot", self.name, "restore", name)
        self.start(timeout, paused=paused)

    def checkpoints(self) -> dict[str, Path]:
        """See `Machine.checkpoints`."""
        try:
            settings = ElementTree.parse(self.folder / f"{self.name}.vbox")
        except (OSError, ElementTree.ParseError):
            return {}
        return {
            node.attrib["name"]: self.folder / node.attrib["stateFile"]
            for node in settings.iter(f"{_XML}Snapshot")
            if "stateFile" in node.attrib
        }

    def saved_state(self, name: str) -> Path:
        """The path of a checkpoint's .sav.

        Raises:
            NoSuchCheckpoint: there is none of that name.
        """
        try:
            return self.checkpoints()[name]
        except KeyError:
            raise NoSuchCheckpoint(self.name, name) from None

    def save(self) -> Path:
        """Save the state and end the process; the path of the .sav, which no snapshot has."""
        self.manage("controlvm", self.name, "savestate")
        self._await_process_end()
        settings = ElementTree.parse(self.folder / f"{self.name}.vbox")
        machine = settings.find(f"{_XML}Machine")
        if machine is None or "stateFile" not in machine.attrib:
            raise LabError(f"VirtualBox saved no state of {self.name!r}")
        return self.folder / machine.attrib["stateFile"]

    def store(self, folder: Path) -> None:
        """Save the state and leave it with the disk in ``folder``, for others to go on from."""
        shutil.move(self.save(), folder / _STATE)
        shutil.move(self.folder / "root.vdi", folder / _DISK)

    def disk(self, target: Path) -> None:
        """Write the root disk of a machine that is off to a raw image."""
        text = self.manage("showvminfo", self.name, "--machinereadable")
        found = re.search(rf'^"{_CONTROLLER}-0-0"="(.+)"$', text, re.M)
        if not found:
            raise LabError(f"VirtualBox knows no disk of {self.name!r}")
        image = self.folder / "root.raw"
        self.manage("clonemedium", "disk", found[1], str(image), "--format", "RAW")
        self.manage("closemedium", "disk", str(image))
        shutil.move(image, target)

    def power_off(self) -> None:
        """See `Machine.power_off`."""
        if self.state() in ("running", "paused"):
            self.manage("controlvm", self.name, "poweroff")
        self._await_process_end()

    def discard(self) -> None:
        """See `Machine.discard`."""
        wait_for(lambda: self._forgotten(), timeout=10, step=0.3)

    def evidence(self) -> str:
        """See `Machine.evidence`."""
        log = self.folder / "Logs" / "VBox.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        failures = [line for line in lines if _TELLING.search(line)][-6:]
        return "\n".join([super().evidence(), *failures])

    def _forgotten(self) -> bool:
        if self.state() == "saved":
            self.manage("discardstate", self.name)
        try:
            self.manage("unregistervm", self.name, "--delete")
        except CommandError:
            return self.state() == "absent"
        return True

    def _await_process_end(self) -> None:
        process = self.recorded("vm")
        if process and not wait_for(lambda: not process.alive(), timeout=15):
            process.end()
        # VirtualBox's server notices the end of a session a moment later, and starts none before.
        wait_for(lambda: "Session name" not in self._information(), timeout=30)

    def _attach(self, port: str, device: str, kind: str, medium: Path, *more: str) -> None:
        place = ["--storagectl", _CONTROLLER, "--port", port, "--device", device]
        what = ["--type", kind, "--medium", str(medium)]
        self.manage("storageattach", self.name, *place, *what, *more)

    def _display(self) -> str:
        """The X display of this machine's window; its server is started if need be."""
        number = self.folder / "run" / "xvfb.log"
        if self.recorded("xvfb") is None:
            number.unlink(missing_ok=True)
            screen = ["-screen", "0", "1280x1024x24", "-nolisten", "tcp", "-nolisten", "local"]
            self.spawn("xvfb", TREE, ["/usr/bin/Xvfb", "-displayfd", "1", *screen])
        if not wait_for(lambda: re.search(r"^\d+$", number.read_text(), re.M), timeout=20):
            raise StartError("the X server did not start", number.read_text()[-300:])
        found = re.search(r"^\d+$", number.read_text(), re.M)
        assert found is not None
        return f":{found[0]}"

    def _xdotool(self, *arguments: str) -> str:
        variables = {"DISPLAY": self._display()}
        return self.sandbox.run(TREE, ["xdotool", *arguments], env=variables)


def _write_exchange_descriptor(folder: Path) -> None:
    """Describe the raw exchange disk as a VMDK, which is how VirtualBox takes raw images."""
    sectors = EXCHANGE_BYTES // 512
    (folder / "exchange.vmdk").write_text(
        "# Disk DescriptorFile\n"
        "version=1\n"
        f"CID={uuid.uuid4().hex[:8]}\n"
        "parentCID=ffffffff\n"
        'createType="monolithicFlat"\n'
        f'RW {sectors} FLAT "exchange.raw" 0\n'
        'ddb.virtualHWVersion = "4"\n'
        'ddb.adapterType="ide"\n'
        f'ddb.geometry.cylinders="{sectors // (16 * 63)}"\n'
        'ddb.geometry.heads="16"\n'
        'ddb.geometry.sectors="63"\n'
        f'ddb.uuid.image="{uuid.uuid4()}"\n'
    )
