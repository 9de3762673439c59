"""What the demonstration's parts share: the steps it tells of, and the machine it works on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from sparc_lab import LabError, VirtualBoxMachine

from sparc.printable import printable
from tools.demo.places import Finding, audit

__all__ = ["Guest", "Steps", "complaints"]

_SECONDS = 600


class Steps:
    """Says which step is under way, and when it began."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)


class Guest:
    """The virtual machine, as its users see it."""

    def __init__(self, machine: VirtualBoxMachine, step: Steps) -> None:
        self.machine = machine
        self.step = step

    def sh(self, script: str) -> str:
        """What a script in the guest printed. Raises LabError when it failed."""
        done = self.machine.shell(f"export PATH=/usr/local/bin:$PATH; {script}", _SECONDS)
        if done.status:
            raise LabError(f"in the guest: {done.stderr.decode().strip()}")
        return done.text

    def say(self, command: str) -> None:
        """Run one of sparc's commands in the guest, in sight of whoever watches."""
        self.step(f"in the guest: {command}")
        for line in self.sh(command).splitlines():
            print(f"        {printable(line)}")

    def checkpoint(self, name: str, secrets: Sequence[str]) -> tuple[Path, list[Finding]]:
        """Take a snapshot with VBoxManage; where the secrets stand in it."""
        self.step(f"taking the snapshot {name!r} with VBoxManage")
        began = time.monotonic()
        path = self.machine.checkpoint(name)
        took, size = time.monotonic() - began, path.stat().st_size >> 20
        self.step(f"taken in {took:.1f} s: {size} MB; searching it")
        return path, audit(path, secrets)


def complaints(path: Path) -> list[str]:
    """What the extension pack's report has against a checkpoint."""
    report = json.loads(path.with_name(f"{path.stem}.sparc.json").read_text())
    return [] if report["clean"] else [f"{path.stem} is not clean: {report['message']}"]
