"""Which hypervisor a VM is of: VirtualBox's by name or UUID, QEMU's by name or QMP socket."""

from __future__ import annotations

from pathlib import Path

from host_service import virtualbox
from host_service.errors import HostError
from host_service.qemu import processes, store
from host_service.virtualbox import VirtualBoxError

__all__ = ["HYPERVISORS", "QEMU", "VIRTUALBOX", "of", "saved_state"]

VIRTUALBOX, QEMU = "virtualbox", "qemu"
HYPERVISORS = (VIRTUALBOX, QEMU)


def of(vm: str, wanted: str = "") -> str:
    """That one, or what knows a VM of that name: VirtualBox, where it is unknown.

    Raises:
        HostError: both do.
    """
    if wanted:
        return wanted
    if processes.find(vm) is None and not store.checkpoints(vm):
        return VIRTUALBOX
    try:
        virtualbox.find(vm)
    except VirtualBoxError:
        return QEMU
    raise HostError(
        "VirtualBox and QEMU have a VM of that name", vm, "say --hypervisor, or name a file"
    )


def saved_state(vm: str, name: str | None = None, wanted: str = "") -> Path:
    """The file that holds a checkpoint of a VM, by default the newest. Raises HostError."""
    if of(vm, wanted) == QEMU:
        return store.checkpoint(vm, name).state_file
    return virtualbox.saved_state(vm, name)
