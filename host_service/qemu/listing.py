"""The checkpoints of QEMU's VMs, as `sparc list` shows those of VirtualBox's."""

from __future__ import annotations

from host_service.known import Listed, Listing, Vm
from host_service.qemu import processes, store
from host_service.verdict import judge
from host_service.virtualbox.machine import State

__all__ = ["listings"]


def listings(vm: str | None) -> list[Listing]:
    """That of a VM, or of all of which sparc ever took a checkpoint. Each checkpoint is a root:
    QEMU keeps no tree of them."""
    running = {process.name for process in processes.running()}
    return [_listing(name, name in running) for name in ([vm] if vm is not None else store.vms())]


def _listing(name: str, runs: bool) -> Listing:
    found, uuid = [], ""
    for one in store.checkpoints(name):
        verdict = judge(one.state_file, None)
        report = verdict.report or verdict.doubted
        uuid = report.vm_uuid if report else uuid
        size = one.state_file.stat().st_size
        entry = Listed(one.name, one.name, "", 0, False, one.taken, one.state_file, size, verdict)
        found.append(entry)
    return Listing(Vm(name, uuid), State.RUNNING if runs else State.OFF, found)
