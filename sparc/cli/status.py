"""`sparc status`: in a guest, how its own part stands; on a host, how the VMs stand."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from sparc.cli.guest_words import counted
from sparc.cli.side import on_host
from sparc.printable import duration, printable
from sparc.reasons import reason

__all__ = ["command", "text"]


@click.command(name="status")
@click.argument("vm", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(vm: str | None, as_json: bool) -> int:
    """Show how things stand: in a guest the module, the service, the rules and the last
    checkpoint; on a host each VM, or the one given by name or UUID.

    Rules are what /etc/sparc/exclude.d/*.toml and ~/.config/sparc/exclude.toml say: how many there
    are, and what is wrong in these files.

    Exit status: 0, or 2 for a failure; in a guest also 2 if the service is not running.
    """
    from guest_service.client import ask

    if vm is not None or on_host():
        from host_service.status import show

        return show(vm, as_json)
    status: dict[str, Any] = ask({"command": "status"})
    click.echo(json.dumps(status, indent=2) if as_json else text(status))
    return 0


def text(status: dict[str, Any]) -> str:
    """How a guest stands, in lines."""
    lines = [
        f"Module      loaded, ABI {status['abi']}",
        f"Service     process {status['pid']}, since {_time(status['since'])}",
        f"Excluded    {counted(status['members'], 'process')}{_flags(status)}",
        *_rules(status.get("rules")),
        f"Checkpoint  {_checkpoint(status['checkpoint'])}",
    ]
    if status["restore"]:
        lines.append(f"Restored    {_restore(status['restore'])}")
    return "\n".join(printable(line) for line in lines)


def _flags(status: dict[str, Any]) -> str:
    told = []
    if status["memory_only"]:
        told.append(f"{status['memory_only']} of them memory-only")
    if status["display"]:
        told.append("and the display")
    return "".join(f", {text}" for text in told)


def _rules(rules: dict[str, Any] | None) -> list[str]:
    """None where the service is of another version."""
    if rules is None:
        return []
    slow = "; found every other second, as the kernel does not tell of programs that start"
    lines = [f"Rules       {counted(rules['count'], 'rule')}"]
    if rules["told_by"] == "scan":
        lines[0] += slow
    for problem in rules["problems"]:
        key = f": {problem['key']}" if problem["key"] else ""
        lines.append(f"            {problem['path']}{key}: {problem['why']}")
    return lines


def _checkpoint(last: dict[str, Any] | None) -> str:
    if last is None:
        return "none yet"
    told = f"{_time(last['time'])}: {last['outcome']}"
    if why := reason(last["reason"]):
        told += f": {why}" + (f" ({last['pid']} {last['name']})" if last["pid"] else "")
    if last["outcome"] == "failed":
        return told
    return f"{told}; everybody stood still within {duration(last['freeze_us'])}"


def _restore(last: dict[str, Any]) -> str:
    ended = ", ".join(f"{process['pid']} {process['name']}" for process in last["killed"])
    return f"{_time(last['time'])}: ended: {ended or 'nobody'}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
