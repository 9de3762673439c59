"""What changes a VM."""

from __future__ import annotations

import os
import time

from host_service.virtualbox.connection import VirtualBoxError
from host_service.virtualbox.machine import Machine, Snapshot
from host_service.virtualbox.operation import Tell, finish, locked, opened

__all__ = ["describe", "power_off", "restore_snapshot", "set_extra", "start", "take_snapshot"]

_FREE_SECONDS = 30.0
_DISPLAY = ("DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY")


def take_snapshot(
    machine: Machine, name: str, description: str, *, live: bool, tell: Tell | None = None
) -> tuple[Snapshot, bool]:
    """Take one of a running or paused VM; with it, whether we were to stop when it was too late.

    Raises:
        VirtualBoxError: it was not taken.
    """
    with locked(machine) as (session, stop):
        progress, uuid = session.machine.takeSnapshot(name, description, not live)
        finish(progress, machine, stop, tell)
        return machine.snapshot(str(uuid)), stop.is_set()


def describe(machine: Machine, snapshot: Snapshot, description: str) -> None:
    """Set what stands beside a snapshot in VirtualBox's window.

    Raises:
        VirtualBoxError: it is as it was.
    """
    with locked(machine) as (session, _):
        session.machine.findSnapshot(snapshot.uuid).description = description


def restore_snapshot(machine: Machine, snapshot: Snapshot, tell: Tell | None = None) -> None:
    """Make the VM, which does not run, what it was then. What it was until now is lost.

    Raises:
        VirtualBoxError: it was not restored.
    """
    with locked(machine) as (session, stop):
        wanted = session.machine.findSnapshot(snapshot.uuid)
        finish(session.machine.restoreSnapshot(wanted), machine, stop, tell)
    if stop.is_set():
        raise VirtualBoxError("interrupted: it was restored, but not started", machine.name)


def power_off(machine: Machine) -> None:
    """Cut the power of a running or paused VM, and wait until its process has let go of it.

    Raises:
        VirtualBoxError: it still runs, or something still holds it.
    """
    with locked(machine) as (session, stop):
        finish(session.console.powerDown(), machine, stop)
    if stop.is_set():
        raise VirtualBoxError("interrupted: the VM is off, nothing more was done", machine.name)
    deadline = time.monotonic() + _FREE_SECONDS
    while machine.in_use:
        if time.monotonic() > deadline:
            raise VirtualBoxError("it is off, but its process does not end", machine.name)
        time.sleep(0.1)


def start(machine: Machine, front_end: str, tell: Tell | None = None) -> None:
    """Start the VM: "gui" in a window, or "headless".

    Raises:
        VirtualBoxError: it does not run.
    """
    # VirtualBox's server may have been started from elsewhere, without a display.
    display = [f"{name}={os.environ[name]}" for name in _DISPLAY if name in os.environ]
    with opened(machine) as (session, stop):
        finish(machine.handle.launchVMProcess(session, front_end, display), machine, stop, tell)


def set_extra(machine: Machine, key: str, value: str) -> None:
    """Set a value of its extra data; "" takes it away."""
    with locked(machine) as (session, _):
        session.machine.setExtraData(key, value)
