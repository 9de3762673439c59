"""The machines that are measured: stock VirtualBox alone ("default"), and with sparc ("sparc")."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparc_lab import Lab, Settings, VirtualBoxMachine

from tools.protect import compile_for_guests, install_guest, install_pack

__all__ = ["SYSTEMS", "Subject"]

SYSTEMS = ("default", "sparc")

_FRESH = "fresh"
_DIRTY = Path(__file__).parent / "dirty.c"
# Where each instruction is interpreted, the guest answers in seconds.
_TIMEOUT_MS = "600000"
_GUEST_SECONDS = 1800
_STATE = re.compile(
    r"^(\d+):(\d\d):(\d\d\.\d+) Changing the VM state from '(\w+)' to '(\w+)'", re.M
)


class Subject:
    """One machine with a checkpoint of how it was before anything was done in it."""

    def __init__(self, lab: Lab, memory: int, system: str) -> None:
        """Start it: `memory` in MB. A lab has either only machines with sparc, or none."""
        self.system = system
        self.memory = memory
        if system == "sparc":
            install_pack(lab)
        machine = lab.up(Settings(f"{system}{memory}", "virtualbox", memory=memory))
        assert isinstance(machine, VirtualBoxMachine)
        self._machine = machine
        machine.put(compile_for_guests(lab, _DIRTY), "/root/dirty")
        if system == "sparc":
            machine.manage("setextradata", machine.name, "SPARC/TimeoutMs", _TIMEOUT_MS)
            install_guest(lab, machine)
        machine.checkpoint(_FRESH)
        machine.power_off()

    @property
    def name(self) -> str:
        """As VirtualBox knows it."""
        return self._machine.name

    def saved_state(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self._machine.saved_state(name)

    @classmethod
    @contextlib.contextmanager
    def pair(cls, memory: int) -> Iterator[dict[str, Subject]]:
        """One of each system, both off."""
        with contextlib.ExitStack() as stack:
            yield {
                system: cls(stack.enter_context(Lab(owned=True)), memory, system)
                for system in SYSTEMS
            }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let it go on from how it was at first; it is off afterwards, with no other checkpoint."""
        self._machine.restore(_FRESH)
        try:
            yield
        finally:
            self._machine.power_off()
            for name in self._machine.checkpoints():
                if name != _FRESH:
                    self._machine.manage("snapshot", self._machine.name, "delete", name)

    def dirty(self, megabytes: int, *, end: bool = False, exclude: bool = False) -> None:
        """A program fills so much memory and rests, or has to ``end``; sparc excludes it."""
        run = "sparc run --" if exclude and self.system == "sparc" else ""
        self._sh(f"""
            rm -f /run/dirty
            setsid {run} /root/dirty {megabytes} </dev/null >/dev/null 2>/root/dirty.log &
            until [ -s /run/dirty ]; do sleep 0.5; done
        """)
        if end:
            self._sh("pid=$(cat /run/dirty); kill $pid; while kill -0 $pid; do sleep 0.2; done")

    def checkpoint(self, name: str, way: str = "vboxmanage") -> dict[str, float]:
        """Take one. In seconds: the command (``command``), the part of it in which the guest's side
        of sparc prepared (``prepare``), how long the guest stood still for the host's part
        (``still``), and what sparc's steps took; and ``file``, the size in bytes.
        """
        began = time.monotonic()
        path = self._machine.checkpoint(name, way)
        took = time.monotonic() - began
        report = path.with_name(path.stem + ".sparc.json")
        steps: dict[str, Any] = {}
        if report.exists():
            told = json.loads(report.read_text())
            assert told["clean"], told["message"]
            steps = {step: us / 1e6 for step, us in told["steps_us"].items()}
            steps["stash_bytes"] = told["stash_bytes"]
            steps["drop_pages"] = told["pages"]["drop"]
        return {
            "prepare": 0.0,
            **steps,
            "command": took,
            "still": self._between("SUSPENDING", "RUNNING"),
            "file": path.stat().st_size,
        }

    def restore(self, name: str) -> float:
        """Seconds in which VirtualBox reads the checkpoint."""
        self._machine.restore(name, paused=True)
        return self._between("LOADING", "SUSPENDED")

    def _sh(self, script: str) -> None:
        path = "export PATH=/usr/local/sbin:/usr/local/bin:$PATH\n"
        done = self._machine.shell(path + script, _GUEST_SECONDS)
        if done.status:
            raise RuntimeError(done.stdout + done.stderr)

    def _between(self, first: str, last: str) -> float:
        """Seconds from when it last came into one state to when it then came into the other."""
        log = (self._machine.folder / "Logs/VBox.log").read_text(errors="replace")
        start, took = 0.0, float("nan")
        for hours, minutes, seconds, _, state in _STATE.findall(log):
            now = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            if state == first:
                start = now
            elif state == last:
                took = now - start
        return took
