"""How VMs stand: the pack in them, the module in their guest, and their last checkpoint."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from host_service import extension_pack, hypervisor, virtualbox
from host_service.errors import HostError
from host_service.known import Checkpoint, Standing, Vm
from host_service.qemu.standing import standing
from host_service.qemu.store import vms
from host_service.verdict import judge
from host_service.virtualbox import Machine
from host_service.virtualbox.machine import State
from host_service.vm_socket import PackStatus, ask
from sparc.printable import printable

__all__ = [
    "last_checkpoint",
    "policy_of",
    "show",
    "standing_data",
    "standing_of",
]


def show(vm: str | None, as_json: bool) -> int:
    """Print how a VM stands, or all of this user's; 0.

    Raises:
        HostError: no such VM, or VirtualBox does not answer.
    """
    standings = _all() if vm is None else [_one(vm)]
    if as_json:
        data = [standing_data(standing) for standing in standings]
        click.echo(json.dumps(data[0] if vm is not None else data, indent=2))
    elif standings:
        own = any(not isinstance(standing.machine, Vm) for standing in standings)
        installed = own and extension_pack.installed() is not None
        click.echo("\n".join(_text(standing, installed) for standing in standings))
    else:
        click.echo("VirtualBox knows no VM of this user")
    return 0


def _one(vm: str) -> Standing:
    if hypervisor.of(vm) == hypervisor.QEMU:
        return standing(vm)
    return _with_last(standing_of(virtualbox.find(vm)))


def _all() -> list[Standing]:
    """All of VirtualBox's, and of QEMU's those that sparc ever had to do with."""
    found = [standing(name) for name in vms()]
    try:
        machines = virtualbox.machines()
    except virtualbox.VirtualBoxError:
        if not found:
            raise
        machines = []
    return found + [_with_last(standing_of(machine)) for machine in machines]


def standing_of(machine: Machine) -> Standing:
    """How a VM stands, without its checkpoints. Raises HostError."""
    with virtualbox.translated(machine.name):
        state = machine.state
    if state is State.INACCESSIBLE:
        return Standing(machine, state, None, "", "", None)
    try:
        pack, problem = ask(machine.uuid), ""
    except HostError as error:
        pack, problem = None, error.cause
    with virtualbox.translated(machine.name):
        policy = machine.extra("SPARC/Policy")
    return Standing(machine, state, pack, problem, policy, None)


def _with_last(now: Standing) -> Standing:
    if now.state in (State.INACCESSIBLE, State.BUSY) or isinstance(now.machine, Vm):
        # While one is under way, it is in the tree already.
        return now
    with virtualbox.translated(now.machine.name):
        return dataclasses.replace(now, last=last_checkpoint(now.machine))


def last_checkpoint(machine: Machine) -> Checkpoint | None:
    """The newest saved state of a VM that is not busy; None if it has none."""
    own = machine.state_file
    taken = [snapshot for snapshot in machine.snapshots() if snapshot.state_file]
    # A saved state may be that of a snapshot too.
    if own is not None and own not in [snapshot.state_file for snapshot in taken]:
        return Checkpoint("", judge(own, machine.uuid))
    if not taken:
        return None
    newest = max(taken, key=lambda snapshot: (snapshot.state_file == own, snapshot.taken))
    return Checkpoint(newest.name, judge(newest.state_file, machine.uuid))


def policy_of(now: Standing) -> str:
    """What the pack follows; without a pack in it, what the VM is set to."""
    return now.pack.policy if now.pack else now.policy or "strict"


def standing_data(standing: Standing) -> dict[str, Any]:
    """The stable schema of `sparc status VM --json`."""
    machine, pack, last = standing.machine, standing.pack, standing.last
    data: dict[str, Any] = {
        "vm": {"name": machine.name, "uuid": machine.uuid},
        "state": standing.state.value,
        "pack": None,
        "problem": standing.problem or None,
        "last": None,
    }
    if standing.state is not State.INACCESSIBLE:
        data["policy"] = policy_of(standing)
    if pack:
        names = ("timeout_ms", "module", "abi", "armed", "members", "reason")
        data["pack"] = {"version": pack.pack, "state": pack.state}
        data["pack"] |= {name: getattr(pack, name) for name in names}
        data["pack"]["last"] = pack.last.as_json() if pack.last else None
    if last:
        report = last.verdict.report
        data["last"] = {
            "snapshot": last.name or None,
            "clean": last.verdict.clean,
            "why": last.verdict.why,
            "report": report.as_json() if report else None,
        }
    return data


def _text(standing: Standing, installed: bool) -> str:
    machine, pack, last = standing.machine, standing.pack, standing.last
    lines = [f"{machine.name} ({standing.state.value})"]
    if standing.state is State.INACCESSIBLE:
        return printable(lines[0])
    if standing.problem:
        label = "host" if isinstance(machine, Vm) else "pack"
        lines.append(f"  {label}        {standing.problem}")
    elif pack:
        label = "host" if isinstance(machine, Vm) else "pack"
        lines.append(f"  {label}        {pack.pack}, {pack.state}{_reason(pack)}")
        module = f"in the guest (ABI {pack.abi})" if pack.module else "not in the guest"
        lines.append(f"  module      {module}")
        members = f"processes: {pack.members}" if pack.armed else "nothing since it was loaded"
        lines.append(f"  excluded    {members}")
    elif isinstance(machine, Vm):
        pass
    elif not installed:
        lines.append("  pack        not installed: sparc host install")
    elif standing.state in (State.RUNNING, State.PAUSED):
        lines.append("  pack        not in this VM's process: power it off and start it again")
    lines.append(f"  policy      {policy_of(standing)}")
    if pack and pack.last and not pack.last.saved:
        lines.append(f"  last save   failed: {pack.last.message or pack.last.reason}")
    if last:
        word = "clean" if last.verdict.clean else "NOT CLEAN"
        lines.append(f"  checkpoint  {last.name or 'saved state'}: {word}: {last.verdict.why}")
    return "\n".join(printable(line) for line in lines)


def _reason(pack: PackStatus) -> str:
    return f" ({pack.reason})" if pack.reason not in ("", "none") else ""
