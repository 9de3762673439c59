"""The VMs that VirtualBox knows, their states and their snapshots."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from host_service.virtualbox.connection import VirtualBoxError, array, connect, in_words

__all__ = ["Machine", "Snapshot", "State", "find", "machines", "saved_state"]

_NOT_FOUND = 0x80BB0001
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(enum.Enum):
    """How a VM stands, as far as it matters here."""

    RUNNING = "running"
    PAUSED = "paused"
    SAVED = "saved"
    OFF = "off"
    BUSY = "busy"
    """Changing from one to another, or in the hands of some operation."""
    INACCESSIBLE = "inaccessible"


# Some names stand for the same number, so the SDK's way from number to name cannot be used.
_STATES = {
    "Running": State.RUNNING,
    "Paused": State.PAUSED,
    "Saved": State.SAVED,
    "AbortedSaved": State.SAVED,
    "PoweredOff": State.OFF,
    "Aborted": State.OFF,
    "Teleported": State.OFF,
}


@dataclass(frozen=True)
class Snapshot:
    """One snapshot of a VM. `state_file` is None where it was taken while the VM was off.

    `parent` is the UUID of the one it was made from, or "".
    """

    uuid: str
    name: str
    taken: datetime
    state_file: Path | None
    parent: str = ""


class Machine:
    """A VM. What is asked of it is asked of VirtualBox each time; `handle` is its IMachine."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.uuid = str(handle.id)
        self.accessible = bool(handle.accessible)
        self.name = str(handle.name) if self.accessible else self.uuid

    @property
    def state(self) -> State:
        """How it stands now."""
        if not self.accessible:
            return State.INACCESSIBLE
        constants, now = connect()[0].constants, self.handle.state
        for name, state in _STATES.items():
            # Older versions lack some.
            if getattr(constants, f"MachineState_{name}", None) == now:
                return state
        return State.BUSY

    @property
    def front_end(self) -> str:
        """What runs it ("gui", "headless", ...), or else what it is set to run in; maybe ""."""
        now = str(self.handle.sessionName or "")
        return "gui" if now.startswith("GUI") else now or str(self.handle.defaultFrontend or "")

    @property
    def in_use(self) -> bool:
        """Whether a process holds it: its own, or one that changes it."""
        unlocked = connect()[0].constants.SessionState_Unlocked
        return bool(self.handle.sessionState != unlocked)

    @property
    def state_file(self) -> Path | None:
        """The saved state that it goes on from, if it is saved."""
        path = str(self.handle.stateFilePath or "")
        return Path(path) if path else None

    @property
    def current_snapshot(self) -> str:
        """The UUID of the one that it goes on from, or ""."""
        found = self.handle.currentSnapshot
        return str(found.id) if found else ""

    def extra(self, key: str) -> str:
        """A value of its extra data, or ""."""
        return str(self.handle.getExtraData(key) or "")

    def snapshots(self) -> list[Snapshot]:
        """All, each after the one it was made from."""
        if not self.handle.snapshotCount:
            return []
        return [_snapshot(found) for found in _tree(self.handle.findSnapshot(""))]

    def snapshot(self, wanted: str) -> Snapshot:
        """The one of that name or UUID.

        Raises:
            VirtualBoxError: there is none, or several have that name.
        """
        listed = self.snapshots()
        found = [s for s in listed if s.uuid == wanted] or [s for s in listed if s.name == wanted]
        if not found:
            raise VirtualBoxError(
                f"the VM has no snapshot {wanted}",
                self.name,
                f"VBoxManage snapshot {self.name} list shows all",
            )
        if len(found) > 1:
            advice = "give its UUID: " + " or ".join(s.uuid for s in found)
            raise VirtualBoxError(f"several snapshots are called {wanted}", self.name, advice)
        return found[0]


def find(vm: str) -> Machine:
    """The VM of that name or UUID.

    Raises:
        VirtualBoxError: there is none, or its settings cannot be read.
    """
    machine = Machine(_handle(vm, "there is no such VM"))
    if not machine.accessible:
        raise VirtualBoxError(
            f"VirtualBox cannot read this VM's settings: {machine.handle.accessError.text}", vm
        )
    return machine


def machines() -> list[Machine]:
    """Every VM of this user, by name."""
    found = [Machine(handle) for handle in array(connect()[1], "machines")]
    return sorted(found, key=lambda machine: machine.name)


def saved_state(vm: str, snapshot: str | None = None) -> Path:
    """The saved-state file of a VM, by name or UUID, or of one of its snapshots.

    Without `snapshot`: that of the VM itself if it is saved, else of its current snapshot. Raises
    VirtualBoxError: no such VM or snapshot, or one that was taken while the VM was off.
    """
    handle = _handle(vm, "there is no such file and no such VM")
    if snapshot is None and handle.stateFilePath:
        return Path(str(handle.stateFilePath))
    if snapshot is None:
        found = handle.currentSnapshot
        if found is None:
            raise VirtualBoxError(
                "the VM is not saved and has no snapshot", vm, "save it or take a snapshot first"
            )
    else:
        try:
            found = handle.findSnapshot(snapshot)
        except Exception:
            raise VirtualBoxError(
                f"the VM has no snapshot {snapshot}",
                vm,
                f"VBoxManage snapshot {vm} list shows all",
            ) from None
    path = found.machine.stateFilePath
    if not path:
        raise VirtualBoxError(
            f"the snapshot {found.name} was taken while the VM was off, so it holds no memory", vm
        )
    return Path(str(path))


def _handle(vm: str, absent: str) -> Any:
    try:
        return connect()[1].findMachine(vm)
    except VirtualBoxError:
        raise
    except Exception as error:
        if getattr(error, "errno", _NOT_FOUND) & 0xFFFFFFFF != _NOT_FOUND:
            raise VirtualBoxError(f"VirtualBox says: {in_words(error)}", vm) from None
        raise VirtualBoxError(absent, vm, "VBoxManage list vms shows all") from None


def _tree(root: Any) -> Iterator[Any]:
    waiting = [root]
    while waiting:
        found = waiting.pop()
        yield found
        waiting += array(found, "children")


def _snapshot(found: Any) -> Snapshot:
    path = str(found.machine.stateFilePath or "")
    taken = _EPOCH + timedelta(milliseconds=int(found.timeStamp))
    parent = str(found.parent.id) if found.parent else ""
    return Snapshot(str(found.id), str(found.name), taken, Path(path) if path else None, parent)
