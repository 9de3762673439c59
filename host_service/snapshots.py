"""The snapshots of VMs as a tree: what was kept out of each, and whether it is clean."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from host_service import hypervisor, virtualbox
from host_service.errors import HostError
from host_service.kept_out import free_bytes, own_bytes, verdict_text
from host_service.known import Listed, Listing
from host_service.qemu import listing as qemu
from host_service.verdict import Verdict, judge
from host_service.virtualbox import Machine, Snapshot, VirtualBoxError
from host_service.virtualbox.machine import State
from sparc.printable import printable, size

__all__ = ["data_of", "listing", "listings", "show"]

_BUSY = "VirtualBox is busy with this VM: ask again when that is over"
# While a snapshot is made or given up, VirtualBox may not answer for a moment.
_TRIES = 5
_PAUSE = 0.2


def show(vm: str | None, as_json: bool, wanted: str = "") -> int:
    """Print the snapshots of a VM, or of all of this user's; 0, or 2 if one told nothing.

    Raises:
        HostError: no such VM, or VirtualBox does not answer.
    """
    found = listings(vm, wanted)
    if as_json:
        data = [data_of(listing) for listing in found]
        click.echo(json.dumps(data[0] if vm is not None else data, indent=2))
    elif found:
        click.echo("\n".join(_text(listing) for listing in found))
    else:
        click.echo("VirtualBox knows no VM of this user")
    return 2 if any(entry.problem and entry.state is not State.BUSY for entry in found) else 0


def listings(vm: str | None, wanted: str = "") -> list[Listing]:
    """That of a VM, or of all of this user's, where one with a problem does not hide the others;
    of the `wanted` hypervisor, if that is said.

    Raises:
        HostError: no such VM, or VirtualBox does not answer.
    """
    if vm is not None and hypervisor.of(vm, wanted) == hypervisor.QEMU:
        return qemu.listings(vm)
    if vm is not None:
        return [listing(virtualbox.find(vm))]
    found = qemu.listings(None) if wanted != hypervisor.VIRTUALBOX else []
    try:
        machines = virtualbox.machines() if wanted != hypervisor.QEMU else []
    except VirtualBoxError:
        if not found:
            raise
        machines = []
    for machine in machines:
        try:
            found.append(listing(machine))
        except HostError as error:
            found.append(Listing(machine, State.INACCESSIBLE, [], error.cause))
    return found


def listing(machine: Machine) -> Listing:
    """What is known of a VM, also while it is being saved.

    Raises:
        HostError: VirtualBox does not answer, and is not busy with it.
    """
    try:
        state, snapshots, current, own = _look(machine)
    except VirtualBoxError:
        if _state(machine) is not State.BUSY:
            raise
        return Listing(machine, State.BUSY, [], _BUSY)
    busy = state is State.BUSY
    found = _tree(snapshots, current, machine.uuid, busy=busy)
    if own is not None and own not in [entry.state_file for entry in found]:
        verdict = _judged(own, machine.uuid, busy=busy)
        at = max((entry.depth for entry in found if entry.current), default=-1) + 1
        taken = verdict.report.time if verdict.report else None
        found.append(Listed("", "", current, at, False, taken, own, _size(own), verdict))
    return Listing(machine, state, found)


def _look(machine: Machine) -> tuple[State, list[Snapshot], str, Path | None]:
    """Its state, snapshots, the current one and its own saved state, all of one moment.

    Raises VirtualBoxError.
    """
    tries = _TRIES
    while True:
        tries -= 1
        try:
            before = _state(machine)
            if before is State.INACCESSIBLE:
                return before, [], "", None
            with virtualbox.translated(machine.name):
                found = machine.snapshots(), machine.current_snapshot, machine.state_file
            after = _state(machine)
        except VirtualBoxError:
            if not tries:
                raise
        else:
            if before is after:
                return before, *found
            # What is half made may be among them.
            if not tries:
                return State.BUSY, *found
        time.sleep(_PAUSE)


def _state(machine: Machine) -> State:
    with virtualbox.translated(machine.name):
        return machine.state


def _tree(snapshots: list[Snapshot], current: str, uuid: str, *, busy: bool) -> list[Listed]:
    children = defaultdict(list)
    for snapshot in sorted(snapshots, key=lambda snapshot: snapshot.taken):
        children[snapshot.parent].append(snapshot)
    found: list[Listed] = []
    waiting = [(snapshot, 0) for snapshot in reversed(children[""])]
    while waiting:
        snapshot, depth = waiting.pop()
        found.append(
            Listed(
                snapshot.uuid,
                snapshot.name,
                snapshot.parent,
                depth,
                snapshot.uuid == current,
                snapshot.taken,
                snapshot.state_file,
                _size(snapshot.state_file),
                _judged(snapshot.state_file, uuid, busy=busy),
            )
        )
        waiting += [(child, depth + 1) for child in reversed(children[snapshot.uuid])]
    return found


def _judged(state_file: Path | None, uuid: str, *, busy: bool) -> Verdict:
    verdict = judge(state_file, uuid)
    if busy and state_file is not None and verdict.report is None:
        # One that is under way is in the tree already.
        return Verdict(False, _BUSY)
    return verdict


def _size(path: Path | None) -> int | None:
    try:
        return None if path is None else path.stat().st_size
    except OSError:
        return None


def data_of(listing: Listing) -> dict[str, Any]:
    """The stable schema of `sparc list VM --json`; "own" is the saved state of the VM itself."""
    data: dict[str, Any] = {
        "vm": {"name": listing.machine.name, "uuid": listing.machine.uuid},
        "state": listing.state.value,
        "problem": listing.problem or None,
        "snapshots": [],
        "own": None,
    }
    for entry in listing.found:
        if entry.uuid:
            data["snapshots"].append(_entry(entry))
        else:
            data["own"] = _entry(entry)
    return data


def _entry(entry: Listed) -> dict[str, Any]:
    report = entry.verdict.report
    return {
        "name": entry.name or None,
        "uuid": entry.uuid or None,
        "parent": entry.parent or None,
        "current": entry.current,
        "taken": entry.taken.isoformat(timespec="seconds") if entry.taken else None,
        "state_file": str(entry.state_file) if entry.state_file else None,
        "bytes": entry.bytes,
        "clean": entry.verdict.clean,
        "why": entry.verdict.why,
        "kept_out_bytes": own_bytes(report) if report else None,
        "free_bytes": free_bytes(report) if report else None,
        "report": report.as_json() if report else None,
    }


def _text(listing: Listing) -> str:
    lines = [f"{listing.machine.name} ({listing.state.value})"]
    for entry in listing.found:
        lines += _lines(entry)
    if listing.problem:
        lines.append(f"  {listing.problem}")
    elif not listing.found and listing.state is not State.INACCESSIBLE:
        lines.append("  no snapshots")
    return "\n".join(printable(line) for line in lines)


def _lines(entry: Listed) -> Iterator[str]:
    indent = "  " * (entry.depth + 1)
    parts = [entry.name or "saved state"]
    if entry.taken:
        parts.append(entry.taken.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    if entry.bytes is not None:
        parts.append(size(entry.bytes))
    mark = "*" if entry.current else "-"
    yield f"{indent}{mark} {'  '.join(parts)}"
    yield f"{indent}    {verdict_text(entry.state_file, entry.verdict)}"
