"""A guest under a QEMU that shares its memory, and `sparc` on its host, as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sparc_lab import Lab, QemuMachine

from host_service.qemu import restore
from host_service.qemu.store import Machine
from tests.guest.holding import secrets
from tests.guest.served import Served

__all__ = ["Victim", "VmUnderQemu"]

_SECONDS = 300


class Victim:
    """A program in the guest that holds secrets."""

    def __init__(self, vm: VmUnderQemu) -> None:
        self.vm = vm
        self.seed = uuid.uuid4().hex
        self.secrets = secrets(self.seed)
        self.file = f"/run/{self.seed}"
        self.pid = vm.start(f"python3 /root/holding.py {self.seed} {self.file}")
        vm.ok(f"until_true '[ -s {self.file} ]'")

    def goes_on(self) -> bool:
        """Whether it still runs, and all that it holds is what it was."""
        before = self.vm.ok(f"cat {self.file}")
        after = self.vm.ok(f"sleep 2; cat {self.file}")
        return before != after and after.split()[-1:] == ["whole"]

    def lives(self) -> bool:
        """Whether it is there at all."""
        return self.vm.sh(f"kill -0 {self.pid}").status == 0

    def end(self) -> None:
        """It is not needed any more."""
        self.vm.sh(f"kill -9 {self.pid}; rm -f {self.file}")


class VmUnderQemu(Served):
    """The guest has the module and the service, the host `sparc`; checkpoints are in `state`."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str, state: Path) -> None:
        super().__init__(lab, machine, kernel)
        machine.put(Path(__file__).with_name("holding.py"), "/root/holding.py")
        self.lab = lab
        self.state = state
        self.environment = {**os.environ, "XDG_STATE_HOME": str(state)}

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def folder(self) -> Path:
        """Where its checkpoints are."""
        return self.state / "sparc/qemu" / self.name

    @contextmanager
    def holding(self, *, excluded: bool) -> Iterator[Victim]:
        """A program that holds secrets, until the end."""
        victim = Victim(self)
        if excluded:
            self.ok(f"sparc exclude {victim.pid}")
        try:
            yield victim
        finally:
            victim.end()

    def sparc(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `sparc` on the host."""
        return self.python("-m", "sparc.cli", *words, given=given)

    def python(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run Python there, as `sparc` is run."""
        return subprocess.run(
            [sys.executable, *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            env=self.environment,
        )

    def json(self, *words: str) -> Any:
        """What `sparc` on the host prints as JSON."""
        done = self.sparc(*words, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def found(self, file: Path | str, victim: Victim) -> set[int]:
        """The numbers of a victim's secrets that an audit finds in a checkpoint."""
        given = "\n".join(victim.secrets)
        done = self.sparc("audit", str(file), "--secret-file", "-", "--json", given=given)
        assert done.returncode in (0, 1), done.stderr
        data = json.loads(done.stdout)
        assert data["problems"] == []
        return {entry["number"] for entry in data["secrets"] if entry["findings"]}

    def taken(self, name: str) -> Path:
        """The file of a checkpoint that is taken now, and has to be clean."""
        done = self.sparc("checkpoint", self.name, "--name", name)
        assert done.returncode == 0, done.stdout + done.stderr
        return self.folder / f"{name}.ckpt"

    def restore(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Go back to it, in a QEMU of the lab's."""
        monkeypatch.setenv("XDG_STATE_HOME", str(self.state))

        def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
            line = self.machine.sandbox.argv("tools", argv)
            return subprocess.run(line, capture_output=True, text=True, check=False)

        def start(_: Machine, argv: list[str]) -> None:
            self.machine.spawn("vm", self.machine.tree, argv)

        done = restore.restore(self.name, name, force=True, run=run, start=start)
        assert done[2].clean and done[3] == ""

    def disk_snapshots(self) -> list[str]:
        """The names of the snapshots inside its disks."""
        return [
            str(snapshot["name"])
            for device in self.machine.qmp("query-block")
            if device.get("inserted")
            for snapshot in device["inserted"]["image"].get("snapshots", [])
        ]

    def status(self) -> dict[str, Any]:
        """What `sparc status` says in the guest."""
        return dict(super().json("sparc status --json"))
