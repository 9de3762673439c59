"""Back to a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from host_service import hypervisor as hypervisors
from host_service import journal, virtualbox
from host_service.errors import HostError
from host_service.verdict import Verdict, judge
from host_service.virtualbox import Machine, Snapshot
from host_service.virtualbox.machine import State
from host_service.virtualbox.operation import Tell

__all__ = ["Restored", "restore"]

Starter = Callable[[Machine, str], None]
"""Starts a VM in that front end."""

_LOST = {
    State.RUNNING: ("the VM is running", "what it does now would be lost"),
    State.PAUSED: ("the VM is paused", "what it did since would be lost"),
    State.SAVED: ("the VM has a saved state of its own", "that would be lost"),
}


@dataclass(frozen=True)
class Restored:
    """What was restored. `front_end` is where it runs now, or None if it was not started.

    `unnoted` says why it is not in the journal, or is "".
    """

    vm: str
    vm_uuid: str
    snapshot: Snapshot
    verdict: Verdict
    front_end: str | None
    unnoted: str = ""


def restore(
    vm: str,
    snapshot: str,
    *,
    force: bool = False,
    front_end: str = "",
    hypervisor: str = "",
    monitor: Path | None = None,
    starter: Starter | None = virtualbox.start,
    tell: Tell | None = None,
) -> Restored:
    """Make a VM what it was at a snapshot, and start it; in what ran it last, if none is named.

    A VM that runs or is saved is given up only by `force`. Without `starter` it stays off. One of
    QEMU is started as it was started before, or loaded into the QEMU that waits at `monitor`.

    Raises:
        HostError: it was not restored, or not started; the cause says how far it came.
    """
    if monitor is not None or hypervisors.of(vm, hypervisor) == hypervisors.QEMU:
        if starter is None or front_end:
            raise HostError("QEMU's VMs are started as they were before", vm, "leave options out")
        return _of_qemu(vm, snapshot, force, monitor)
    machine = virtualbox.find(vm)
    with virtualbox.translated(machine.name):
        found = machine.snapshot(snapshot)
        state = machine.state
        if state not in (*_LOST, State.OFF):
            raise HostError(f"the VM is {state.value}", machine.name, "try again later")
        if state in _LOST and not force and not _kept(machine):
            cause, loss = _LOST[state]
            raise HostError(cause, machine.name, f"{loss}; --force does it all the same")
        chosen = front_end or machine.front_end or _usual()
    if state in (State.RUNNING, State.PAUSED):
        virtualbox.power_off(machine)
    virtualbox.restore_snapshot(machine, found, tell)
    verdict = judge(found.state_file, machine.uuid)
    if starter is None:
        unnoted = _note(machine, found, verdict, None)
        return Restored(machine.name, machine.uuid, found, verdict, None, unnoted)
    try:
        starter(machine, chosen)
    except HostError as error:
        _note(machine, found, verdict, None)
        cause = f"the checkpoint was restored, but the VM does not start: {error.cause}"
        raise HostError(cause, machine.name, error.advice) from None
    unnoted = _note(machine, found, verdict, chosen)
    return Restored(machine.name, machine.uuid, found, verdict, chosen, unnoted)


def _of_qemu(vm: str, name: str, force: bool, monitor: Path | None) -> Restored:
    from host_service.qemu.restore import restore as restore_of_qemu

    found, machine, verdict, unnoted = restore_of_qemu(vm, name, force=force, waiting=monitor)
    snapshot = Snapshot("", found.name, found.taken, found.state_file)
    return Restored(machine.name, machine.uuid, snapshot, verdict, "qemu", unnoted)


def _note(machine: Machine, snapshot: Snapshot, verdict: Verdict, started: str | None) -> str:
    """See `journal.note_restore`."""
    what = journal.Restore(
        datetime.now(UTC),
        machine.name[: journal.LONGEST_NAME],
        machine.uuid,
        snapshot.name[: journal.LONGEST_NAME],
        snapshot.uuid,
        verdict.clean,
        verdict.why,
        started,
    )
    return journal.note_restore(what)


def _kept(machine: Machine) -> bool:
    """Whether a saved state is that of a snapshot too, as after a restore, and so is not lost."""
    return machine.state_file in {snapshot.state_file for snapshot in machine.snapshots()} - {None}


def _usual() -> str:
    return "gui" if "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ else "headless"
