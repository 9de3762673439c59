"""A checkpoint of a running VM with the excluded programs kept out, and whether that is so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from host_service import extension_pack, virtualbox
from host_service import hypervisor as hypervisors
from host_service.errors import HostError
from host_service.kept_out import verdict_line
from host_service.verdict import Verdict, judge
from host_service.virtualbox import Machine, Snapshot
from host_service.virtualbox.machine import State
from host_service.virtualbox.operation import Tell, signals_held
from host_service.vm_socket import PackStatus, ask

__all__ = ["Checkpoint", "default_name", "take"]


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot that was taken; `interrupted` when it was too late to cancel it.

    `undescribed` says why VirtualBox's description of it does not tell the verdict, or is "".
    """

    vm: str
    vm_uuid: str
    snapshot: Snapshot
    verdict: Verdict
    interrupted: bool
    undescribed: str = ""


def default_name(now: datetime) -> str:
    """What a checkpoint is called where nobody says."""
    return f"sparc {now:%Y-%m-%d %H:%M:%S}"


def take(
    vm: str,
    name: str,
    description: str = "",
    *,
    live: bool = False,
    hypervisor: str = "",
    monitor: Path | None = None,
    tell: Tell | None = None,
) -> Checkpoint:
    """Take a checkpoint of a running or paused VM, of that `hypervisor` or of the one that has it.

    QEMU's are to run; `monitor` is the VM's QMP socket, where its command line does not say.

    Raises:
        HostError: nothing was taken. Without a pack in the VM or a module in its guest nothing is
            even tried.
    """
    if monitor is not None or hypervisors.of(vm, hypervisor) == hypervisors.QEMU:
        return _of_qemu(vm, name, description, live, monitor, tell)
    machine = virtualbox.find(vm)
    with virtualbox.translated(machine.name):
        _check(machine, name, live)
    started = datetime.now(UTC)
    # To the end: once a checkpoint was taken, it is told of.
    with signals_held() as stop:
        try:
            snapshot, late = virtualbox.take_snapshot(
                machine, name, description, live=live, tell=tell
            )
        except HostError as error:
            raise _explained(error, machine, started) from None
        verdict = judge(snapshot.state_file, machine.uuid, started)
        undescribed = _describe(machine, snapshot, description, verdict)
        interrupted = late or stop.is_set()
        return Checkpoint(machine.name, machine.uuid, snapshot, verdict, interrupted, undescribed)


def _of_qemu(
    vm: str, name: str, description: str, live: bool, monitor: Path | None, tell: Tell | None
) -> Checkpoint:
    from host_service.qemu.checkpoint import take as take_of_qemu
    from host_service.qemu.processes import process

    if live or description:
        raise HostError("QEMU's checkpoints are never live, and have no description", vm)
    started = datetime.now(UTC)
    done = take_of_qemu(process(vm, monitor), name, tell=tell)
    verdict = judge(done.state_file, done.uuid, started)
    snapshot = Snapshot("", done.name, done.taken, done.state_file)
    return Checkpoint(done.vm, done.uuid, snapshot, verdict, done.interrupted)


def _describe(machine: Machine, snapshot: Snapshot, given: str, verdict: Verdict) -> str:
    """Let VirtualBox's own list say whether it is clean, below what the user says of it.

    The checkpoint was taken: a description that cannot be set is told of, and no failure.
    """
    own = f"{given.rstrip()}\n\n" if given.strip() else ""
    # VirtualBox's window shows as markup what looks like it, and a guest names its programs.
    line = verdict_line(verdict).replace("&", r"\x26").replace("<", r"\x3c")
    try:
        virtualbox.describe(machine, snapshot, f"{own}sparc: {line}")
    except HostError as error:
        return error.cause
    return ""


def _check(machine: Machine, name: str, live: bool) -> None:
    """All that can be known to fail, before anything is done."""
    if not name.strip() or not name.isprintable():
        raise HostError("a checkpoint's name is text on one line")
    state = machine.state
    if state is State.BUSY:
        advice = "if a checkpoint is under way, wait for it"
        raise HostError("VirtualBox is busy with this VM", machine.name, advice)
    if state not in (State.RUNNING, State.PAUSED):
        raise HostError(
            f"the VM is not running ({state.value})",
            machine.name,
            "a checkpoint is taken of a running or paused VM",
        )
    if live and state is State.PAUSED:
        raise HostError("a paused VM has no live checkpoint", machine.name, "leave out --live")
    if any(found.name == name for found in machine.snapshots()):
        raise HostError(f"it has a snapshot called {name} already", machine.name, "choose another")
    status = ask(machine.uuid)
    if status is None:
        raise _no_pack(machine)
    if not status.module:
        raise HostError(
            "there is no sparc module in the guest, so nothing could be kept out",
            machine.name,
            "load sparc.ko there, or take an ordinary snapshot: VBoxManage snapshot",
        )


def _no_pack(machine: Machine) -> HostError:
    if extension_pack.installed() is None:
        return HostError(
            "the extension pack is not installed", machine.name, "sparc host install, as root"
        )
    return HostError(
        "the VM's process runs without the extension pack",
        machine.name,
        "power it off and start it again; if that does not help, its VBox.log says why",
    )


def _explained(error: HostError, machine: Machine, started: datetime) -> HostError:
    """With what the pack says of the save, where it was the pack that stopped it."""
    try:
        status: PackStatus | None = ask(machine.uuid)
    except HostError:
        status = None
    last = status.last if status else None
    if last is None or last.saved or last.time < started.replace(microsecond=0):
        return error
    cause = f"no checkpoint was taken: {(last.message or last.reason).rstrip('.')}"
    advice = f"sparc host policy {machine.name} warn takes one that is not clean"
    return HostError(cause, machine.name, advice if last.policy == "strict" else error.advice)
