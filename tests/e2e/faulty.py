"""A guarded machine, and what may be done to its host."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import LabError
from sparc_lab.processes import Process, wait_for
from sparc_lab.vboxmanage import INSTALLED, TREE

from tests.e2e.guarded import HOLDERS, Guarded, residue

__all__ = ["SHOWN", "Faulty"]

SHOWN = "SparcCheckpoint"
"""By what VirtualBox logs that the pack has shown the user a refusal."""
_TRIES = 5

_DISK_MB = 24
# Of a file that grows to a hundred megabytes.
_MIDDLE_BYTES = 4 << 20
# FOLDER OPTION...: another file system there, with the disks of the one below.
_SMALL_DISK = """
set -e
folder=$1; shift
mkdir -p "$folder"
exec {below}<"$folder"
mount -t tmpfs tmpfs "$folder"
for disk in /proc/self/fd/$below/*.vdi; do
    [ -e "$disk" ] || continue
    touch "$folder/${disk##*/}"
    # By the descriptor as it is: the path that it stands for is the new file's now.
    mount --no-canonicalize --bind "$disk" "$folder/${disk##*/}"
done
mount -o "remount,$(IFS=,; echo "$*")" "$folder"
"""
_CANCEL = """
import sys, vboxapi
manager = vboxapi.VirtualBoxManager(None, None)
box = manager.getVirtualBox()
session = manager.getSessionObject(box)
box.findMachine(sys.argv[1]).lockMachine(session, manager.constants.LockType_Shared)
progress, _ = session.machine.takeSnapshot(sys.argv[2], "", True)
# While memory is written: before, the guest has been asked; after, it is too late.
while progress.percent < 5 and not progress.completed:
    progress.waitForCompletion(1)
progress.cancel()
progress.waitForCompletion(-1)
print(progress.canceled)
session.unlockMachine()
"""


@contextlib.contextmanager
def _slowed(process: Process) -> Iterator[None]:
    """It runs a tenth of the time."""
    over = threading.Event()

    def hold() -> None:
        with contextlib.suppress(ProcessLookupError):
            while not over.wait(0.01):
                with process.held_still():
                    time.sleep(0.09)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Faulty(Guarded):
    """A guarded machine with its excluded holders, and the files of its host."""

    seed: int

    @property
    def states(self) -> set[Path]:
        """All saved states, whole or not."""
        return set((self.machine.folder / "Snapshots").glob("*.sav"))

    @property
    def process(self) -> Process:
        """The one that runs the machine."""
        process = self.machine.recorded("vm")
        assert process is not None
        return process

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start VBoxManage, and do not wait for it."""
        sandbox = self.machine.sandbox
        argv = [f"{INSTALLED}/VBoxManage", "-q", *arguments]
        line = sandbox.argv(TREE, argv, self.machine.installation.variables)
        return subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
        )

    def last_report(self) -> dict[str, object]:
        """What the pack reported last."""
        path = max(
            (self.machine.folder / "Snapshots").glob("*.sparc.json"),
            key=lambda path: path.stat().st_mtime_ns,
        )
        report = json.loads(path.read_text())
        assert isinstance(report, dict)
        return report

    def log(self) -> str:
        """What VirtualBox and the pack have written of the machine."""
        return (self.machine.folder / "Logs/VBox.log").read_text(errors="replace")

    def goes_on(self) -> None:
        """The excluded ones find all that they hold where it was, and so do all others."""
        assert self.machine.state() == "running"
        # Let go by the host, and not by itself after it had waited in vain.
        assert wait_for(lambda: self._last_checkpoint() is not None, timeout=60)
        assert self._last_checkpoint() == "resumed"
        self.check_survivors(*HOLDERS)
        self.check_kernel()

    def check_no_room(self, *options: str) -> None:
        """No checkpoint is taken on such a small disk, nothing is left, nobody is told why not."""
        with self.small_disk(*options) as folder:
            with pytest.raises(LabError):
                self.machine.checkpoint("full", "vboxmanage")
            left = self.machine.sandbox.run(TREE, ["find", str(folder), "-name", "*.sav"])
        assert left == ""
        assert SHOWN not in self.log()
        assert "full" not in self.machine.checkpoints()
        self.goes_on()

    def check_cancelled(self) -> None:
        """A save that is cancelled in the middle is no checkpoint, and no refusal."""
        before = self.states
        for _ in range(_TRIES):
            cancelled = self.cancel("cancelled")
            if cancelled:
                break
            # It was too late: then it is a checkpoint like any other.
            path = self.machine.saved_state("cancelled")
            assert residue(path, self.seed) == {} and self.last_report()["clean"]
            self.machine.manage("snapshot", self.machine.name, "delete", "cancelled")
        assert cancelled
        assert SHOWN not in self.log()
        assert self.states == before
        assert "cancelled" not in self.machine.checkpoints()
        self.goes_on()

    def _last_checkpoint(self) -> object:
        """How it went for the guest: nothing until the service has noted it."""
        told = json.loads(self.sh("sparc status --json"))["checkpoint"]
        return told and told["outcome"]

    @contextlib.contextmanager
    def small_disk(self, *options: str) -> Iterator[Path]:
        """Where snapshots go there is little room, or, with ``ro``, none may write.

        The disks that are there already stay in use; all that was there comes back.
        """
        folder = self.machine.folder / "Snapshots"
        sandbox = self.machine.sandbox
        argv = ["bash", "-c", _SMALL_DISK, "", str(folder), f"size={_DISK_MB}m", *options]
        sandbox.run(TREE, argv)
        try:
            yield folder
        finally:
            # A machine that goes on after a save has its disks opened anew, a moment after
            # whoever asked for the save has been told that it failed.
            wait_for(lambda: self.machine.state() in ("running", "paused"), timeout=60)
            sandbox.run(TREE, ["umount", "--recursive", "--lazy", str(folder)])

    def cancel(self, name: str) -> bool:
        """Ask for a checkpoint and cancel it in the middle; False if it was too late for that."""
        script = self.machine.sandbox.files / "cancel.py"
        script.write_text(_CANCEL)
        argv = ["python3", str(script), self.machine.name, name]
        said = self.machine.sandbox.run(TREE, argv, env=self.machine.installation.variables)
        return said.strip() == "True"

    def cancel_in_window(self, name: str) -> bool:
        """The same as a person does it. The window may be gone then, and the machine with it."""
        before = self.states
        self.machine.ask_in_window(name)
        # A person takes a second to find the button; by then a fast one would be done.
        with _slowed(self.process):
            wrote = lambda: self._is_in_the_middle(before)  # noqa: E731
            assert wait_for(wrote, timeout=120, step=0.001)
            self.machine.cancel_in_window()
            over = lambda: self.machine.state() in ("running", "aborted")  # noqa: E731
            assert wait_for(over, timeout=300)
        # Until that is decided.
        wait_for(lambda: self.machine.recorded("vm") is None, timeout=5)
        return name not in self.machine.checkpoints()

    def _is_in_the_middle(self, before: set[Path]) -> bool:
        return any(path.stat().st_size > _MIDDLE_BYTES for path in self.states - before)

    @contextlib.contextmanager
    def while_saving(self, name: str) -> Iterator[set[Path]]:
        """Be in the middle of a save; what there is of the file. Afterwards the save has ended."""
        before = self.states
        asked = self.command("snapshot", self.machine.name, "take", name)
        wrote = lambda: self._is_in_the_middle(before)  # noqa: E731
        assert wait_for(wrote, timeout=120, step=0.001)
        try:
            yield self.states - before
        finally:
            asked.communicate(timeout=300)

    @contextlib.contextmanager
    def stopped_while_saving(self, name: str) -> Iterator[None]:
        """Hold the machine's process still in the middle of a save; then it goes on."""
        with self.while_saving(name), self.process.held_still():
            yield

    def kill_while_saving(self) -> set[Path]:
        """Kill the machine's process in the middle of a save; what it leaves of the file."""
        process = self.process
        with self.while_saving("killed") as left:
            os.kill(process.pid, signal.SIGKILL)
        assert wait_for(lambda: not process.alive(), timeout=60)
        assert wait_for(lambda: self.machine.state() == "aborted", timeout=60)
        # VirtualBox may have removed it.
        return left & self.states
