"""A lab machine under QEMU's TCG: the same disk and kernel, for quick runs of the guest's side."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qemu.qmp.legacy import QEMUMonitorProtocol

from .build import Parts
from .errors import LabError, StartError
from .guestimage import COMMAND_LINE
from .keyboard import Stroke
from .machine import Machine

__all__ = ["QemuMachine"]

_TREE = "tools"
# Where the chipset's hole for devices begins, and where RAM goes on above it: bytes.
_LOW_LIMIT = 0xC000_0000
_HIGH_START = 1 << 32


class QemuMachine(Machine):
    """A machine of QEMU, without hardware virtualisation."""

    strokes_at_once = 2

    def create(self, parts: Parts) -> None:
        """See `Machine.create`."""
        shutil.copy(parts.disk, self.folder / "root.vdi")
        shutil.copy(parts.kernel / "bzImage", self.folder / "bzImage")

    def start(self, timeout: float) -> None:
        """See `Machine.start`."""
        self.start_relay()
        folder = self.folder
        exchange = f"file={folder}/exchange.raw,format=raw,if=ide,file.locking=off"
        argv = [
            "qemu-system-x86_64",
            *("-name", self.name, "-M", f"pc,max-ram-below-4g={_LOW_LIMIT:#x}"),
            *("-accel", "tcg,thread=multi", "-cpu", "max", "-nodefaults", "-display", "none"),
            *("-m", str(self.settings.memory), "-smp", str(self.settings.cpus), "-vga", "std"),
            *("-kernel", f"{folder}/bzImage", "-append", COMMAND_LINE, "-no-reboot"),
            *("-drive", f"file={folder}/root.vdi,format=vdi,if=ide", "-drive", exchange),
            *("-nic", "user,model=e1000"),
            *("-qmp", f"unix:{folder}/qmp.sock,server=on,wait=off"),
        ]
        for line in ("ttyS0", "ttyS1"):
            argv += ["-serial", f"unix:{folder}/{line}.vm,server=on,wait=off"]
        process = self.spawn("vm", _TREE, argv)
        try:
            self.await_agent(process, timeout)
        except StartError:
            process.end()
            raise

    def state(self) -> str:
        """See `Machine.state`."""
        if self.recorded("vm") is None:
            return "off" if self.folder.exists() else "absent"
        return str(self.qmp("query-status")["status"])

    def pause(self) -> None:
        """Hold the guest's CPUs."""
        self.qmp("stop")

    def resume(self) -> None:
        """Let a paused guest go on."""
        self.qmp("cont")

    def press(self, keys: Iterable[Stroke]) -> None:
        """See `Machine.press`."""
        events = [
            {
                "type": "key",
                "data": {
                    "down": code < 0x80,
                    "key": {"type": "number", "data": code & 0x7F},
                },
            }
            for stroke in keys
            for code in stroke
        ]
        self.qmp("input-send-event", events=events)

    def screenshot(self, target: Path) -> None:
        """See `Machine.screenshot`."""
        image = self.folder / "screen.png"
        self.qmp("screendump", filename=str(image), format="png")
        shutil.move(image, target)

    def ram(self, target: Path) -> None:
        """Write the guest's physical memory: a sparse file, byte N is guest-physical address N."""
        size = self.settings.memory << 20
        low = min(size, _LOW_LIMIT)
        was_running = self.state() == "running"
        if was_running:
            self.pause()
        try:
            target.touch(mode=0o600)
            with target.open("wb") as file:
                for start, length in ((0, low), (_HIGH_START, size - low)):
                    if length:
                        self._append_memory(file.fileno(), start, length)
        finally:
            if was_running:
                self.resume()

    def power_off(self) -> None:
        """See `Machine.power_off`."""
        if process := self.recorded("vm"):
            process.end()

    def discard(self) -> None:
        """See `Machine.discard`."""

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Send QEMU a QMP command; what it returns.

        Raises:
            LabError: QEMU does not answer, or refuses.
        """
        monitor = QEMUMonitorProtocol(str(self.folder / "qmp.sock"))
        try:
            monitor.connect(negotiate=True)
            monitor.settimeout(60)
            return monitor.cmd(command, **arguments)
        except Exception as error:
            raise LabError(f"QEMU on {command}: {error}") from error
        finally:
            monitor.close()

    def _append_memory(self, descriptor: int, start: int, length: int) -> None:
        part = self.folder / "ram.part"
        self.qmp("pmemsave", val=start, size=length, filename=str(part))
        try:
            with part.open("rb") as source, open(descriptor, "r+b", closefd=False) as sink:
                offset = start
                while data := source.read(1 << 20):
                    if data.count(0) != len(data):
                        sink.seek(offset)
                        sink.write(data)
                    offset += len(data)
                sink.truncate(offset)
        finally:
            part.unlink(missing_ok=True)
