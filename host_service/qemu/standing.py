"""How a VM of QEMU stands: in the words that the extension pack uses of VirtualBox's."""

from __future__ import annotations

from host_service.errors import HostError
from host_service.known import Checkpoint, Standing, Vm
from host_service.qemu import processes, store
from host_service.qemu.handshake import Guest, mailboxes
from host_service.qemu.memory import GuestMemory, backings, parts_of
from host_service.qemu.monitor import Monitor
from host_service.qemu.processes import QemuProcess
from host_service.verdict import judge
from host_service.virtualbox.machine import State
from host_service.vm_socket import PackStatus
from sparc import abi
from sparc.abi import Reason
from sparc.wire import named

__all__ = ["standing"]


def standing(name: str) -> Standing:
    """That of the VM of that name, which need not run, with its last checkpoint."""
    process = processes.find(name)
    taken = store.checkpoints(name)
    last = taken[-1] if taken else None
    found = Checkpoint(last.name, judge(last.state_file, None)) if last else None
    report = found.verdict.report if found else None
    machine = Vm(name, report.vm_uuid if report else "")
    policy = store.read_policy(name).mode
    if process is None:
        return Standing(machine, State.OFF, None, "", policy, found)
    try:
        pack, problem = _look(process), ""
    except HostError as error:
        pack, problem = None, f"{error.cause}; {error.advice}" if error.advice else error.cause
    return Standing(machine, State.RUNNING, pack, problem, policy, found)


def _look(process: QemuProcess) -> PackStatus:
    """What is seen of its guest, which notices nothing. Raises HostError."""
    if process.monitor is None:
        raise HostError("this VM has no QMP socket", process.name)
    policy = store.read_policy(process.name)
    with Monitor(process.monitor, process.name) as monitor:
        version = monitor.version()
        uuid = str(monitor.ask("query-uuid")["UUID"])
        with (
            backings(monitor, process) as files,
            GuestMemory(parts_of(monitor, files), files) as memory,
        ):
            boxes = mailboxes(memory)
            seen = Guest(memory, boxes[0]).look() if len(boxes) == 1 else None
    known = seen if boxes and boxes[0].abi == abi.VERSION else None
    return PackStatus(
        pack=f"QEMU {version}",
        vm_uuid=uuid,
        policy=policy.mode,
        timeout_ms=policy.timeout_ms,
        module=bool(boxes),
        abi=boxes[0].abi if boxes else None,
        armed=bool(known and known.status.armed),
        members=known.status.members if known else 0,
        state=named(abi.State, known.state) if known else "idle",
        reason=named(Reason, known.status.reason) if known else "none",
        last=None,
    )
