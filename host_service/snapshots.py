"""The snapshots of VMs as a tree: what was kept out of each, and whether it is clean."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from host_service import virtualbox
from host_service.kept_out import free_bytes, own_bytes, verdict_line
from host_service.verdict import Verdict, judge
from host_service.virtualbox import Machine
from host_service.virtualbox.machine import State
from sparc.printable import printable, size

__all__ = ["Listed", "listed", "show"]


@dataclass(frozen=True)
class Listed:
    """A snapshot, or with the `uuid` "" what a saved VM goes on from, if that is no snapshot's.

    `depth` counts how many were made before it in its branch; `bytes` is the saved state's size.
    """

    uuid: str
    name: str
    parent: str
    depth: int
    current: bool
    taken: datetime | None
    state_file: Path | None
    bytes: int | None
    verdict: Verdict


def show(vm: str | None, as_json: bool) -> int:
    """Print the snapshots of a VM, or of all of this user's; 0.

    Raises:
        HostError: no such VM, or VirtualBox does not answer.
    """
    found = [virtualbox.find(vm)] if vm is not None else virtualbox.machines()
    if as_json:
        data = [_data(machine, listed(machine)) for machine in found]
        click.echo(json.dumps(data[0] if vm is not None else data, indent=2))
    elif found:
        click.echo("\n".join(_text(machine, listed(machine)) for machine in found))
    else:
        click.echo("VirtualBox knows no VM of this user")
    return 0


def listed(machine: Machine) -> list[Listed]:
    """All of a VM, each after the one it was made from, branches in the order they were made."""
    state = machine.state
    if state is State.INACCESSIBLE:
        return []
    with virtualbox.translated(machine.name):
        snapshots, current = machine.snapshots(), machine.current_snapshot
        own = machine.state_file
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
                _judged(snapshot.state_file, machine.uuid, busy=state is State.BUSY),
            )
        )
        waiting += [(child, depth + 1) for child in reversed(children[snapshot.uuid])]
    if own is not None and own not in [entry.state_file for entry in found]:
        verdict = judge(own, machine.uuid)
        at = max((entry.depth for entry in found if entry.current), default=-1) + 1
        taken = verdict.report.time if verdict.report else None
        found.append(Listed("", "", current, at, False, taken, own, _size(own), verdict))
    return found


def _judged(state_file: Path | None, uuid: str, *, busy: bool) -> Verdict:
    verdict = judge(state_file, uuid)
    if busy and state_file is not None and verdict.report is None:
        # One that is under way is in the tree already.
        return Verdict(False, "VirtualBox is busy with this VM: ask again when that is over")
    return verdict


def _size(path: Path | None) -> int | None:
    try:
        return None if path is None else path.stat().st_size
    except OSError:
        return None


def _data(machine: Machine, found: list[Listed]) -> dict[str, Any]:
    """The stable schema of `sparc list VM --json`; "own" is the saved state of the VM itself."""
    data: dict[str, Any] = {
        "vm": {"name": machine.name, "uuid": machine.uuid},
        "state": machine.state.value,
        "snapshots": [],
        "own": None,
    }
    for entry in found:
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


def _text(machine: Machine, found: list[Listed]) -> str:
    lines = [f"{machine.name} ({machine.state.value})"]
    for entry in found:
        lines += _lines(entry)
    if not found and machine.state is not State.INACCESSIBLE:
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
    if entry.state_file is None:
        # No program can be in it, so it is neither.
        yield f"{indent}    no memory: it was taken while the VM was off"
    else:
        yield f"{indent}    {verdict_line(entry.verdict)}"
