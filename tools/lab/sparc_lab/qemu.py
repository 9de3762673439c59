"""A lab machine under QEMU's TCG: the same disk and kernel, for quick runs of the guest's side."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qemu.qmp.legacy import QEMUMonitorProtocol

from .build import Guest
from .errors import LabError, StartError
from .keyboard import Stroke
from .machine import Machine

__all__ = ["QemuMachine"]

_TREE, _NEWEST_TREE = "tools", "qemu"
_TRIES = 2
# Without what makes kernels clear and copy memory by bytes, each of which is a step here.
_CPU = "max,erms=off,fsrm=off"
# By the host's clock, or by instructions; and then nobody waits while there is nothing to do.
_CLOCKS = {
    False: ("-accel", "tcg,thread=multi"),
    True: ("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"),
}
# Who only counts may count in more memory than the host has: most of it is never touched.
_RESERVED = {False: "on", True: "off"}
# Where RAM goes on above the chipset's hole for devices: bytes.
_HIGH_START = 1 << 32


class QemuMachine(Machine):
    """A machine of QEMU, without hardware virtualisation."""

    strokes_at_once = 2

    def create(self, guest: Guest) -> None:
        """Make its disks in the prepared ``folder``."""
        shutil.copy(guest.disk, self.folder)
        shutil.copy(guest.kernel, self.folder / "kernel")
        (self.folder / "command_line").write_text(guest.command_line)
        if guest.initrd is not None:
            shutil.copy(guest.initrd, self.folder / "initrd")

    def start(self, timeout: float) -> None:
        """See `Machine.start`."""
        self.start_relay()
        argv = self.command_line()
        for tries_left in reversed(range(_TRIES)):
            process = self.spawn("vm", self.tree, argv)
            try:
                return self.await_agent(process, timeout)
            except StartError:
                # On a busy host an emulated kernel now and then resets as it boots.
                again = tries_left and not process.alive()
                process.end()
                if not again:
                    raise

    @property
    def tree(self) -> str:
        """The tree whose QEMU it is."""
        return _NEWEST_TREE if self.settings.newest else _TREE

    def find_newest(self, path: Path) -> None:
        """Have the tree with Debian sid's QEMU in the sandbox, for it and its like."""
        self.sandbox.add(_NEWEST_TREE, path, beside=_TREE)

    def command_line(self) -> list[str]:
        """What starts it."""
        folder = self.folder
        (root,) = folder.glob("root.*")
        exchange = f"file={folder}/exchange.raw,format=raw,if=ide,file.locking=off"
        memory = f"size={self.settings.memory}M,reserve={_RESERVED[self.settings.counted]}"
        shared = self.settings.shared
        kind = "memory-backend-memfd,share=on" if shared else "memory-backend-ram"
        argv = [
            "qemu-system-x86_64",
            *("-name", self.name),
            *("-M", f"pc,max-ram-below-4g={self.settings.low}M,memory-backend=ram"),
            *("-object", f"{kind},id=ram,{memory}"),
            *_CLOCKS[self.settings.counted],
            *("-cpu", _CPU, "-nodefaults", "-display", "none"),
            *("-m", str(self.settings.memory), "-smp", str(self.settings.cpus), "-vga", "std"),
            *("-kernel", f"{folder}/kernel", "-append", (folder / "command_line").read_text()),
            *("-drive", f"file={root},format={root.suffix[1:]},if=ide", "-drive", exchange),
            *("-nic", "user,model=e1000", "-device", "vmcoreinfo", "-no-reboot"),
            *("-qmp", f"unix:{folder}/qmp.sock,server=on,wait=off"),
        ]
        if (folder / "initrd").exists():
            argv += ["-initrd", f"{folder}/initrd"]
        for line in ("ttyS0", "ttyS1"):
            argv += ["-serial", f"unix:{folder}/{line}.vm,server=on,wait=off"]
        return argv

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
        was_running = self.state() == "running"
        if was_running:
            self.pause()
        try:
            target.touch(mode=0o600)
            with target.open("wb") as file:
                for start, length in self._memory():
                    self._append_memory(file.fileno(), start, length)
        finally:
            if was_running:
                self.resume()

    @property
    def memory_end(self) -> int:
        """The first guest-physical address above all RAM."""
        return max(start + length for start, length in self._memory())

    def ram_offset(self, gpa: int) -> int:
        """Where a guest-physical address of RAM lies in QEMU's memory for the guest."""
        return gpa if gpa < _HIGH_START else gpa - _HIGH_START + (self.settings.low << 20)

    def _memory(self) -> list[tuple[int, int]]:
        """The parts of RAM: where each begins, and its bytes."""
        low = min(self.settings.memory, self.settings.low) << 20
        high = (self.settings.memory << 20) - low
        return [(0, low)] + ([(_HIGH_START, high)] if high else [])

    def core(self, target: Path) -> None:
        """Write the guest's physical memory as an ELF core, for drgn say.

        With the guest kernel's VMCOREINFO, if its ``qemu_fw_cfg`` driver gave that to QEMU. The
        guest is held meanwhile.
        """
        image = self.folder / "guest.core"
        image.touch(mode=0o600)
        try:
            self.qmp("dump-guest-memory", paging=False, protocol=f"file:{image}")
            shutil.move(image, target)
        finally:
            image.unlink(missing_ok=True)

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
