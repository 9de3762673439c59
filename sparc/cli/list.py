"""`sparc list`: in a guest, which processes are excluded; on a host, the snapshots of VMs."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from sparc.cli.guest import user_name
from sparc.cli.guest_words import INCOMPLETE, ways
from sparc.cli.hypervisor import of_hypervisor
from sparc.cli.side import on_host
from sparc.printable import printable

__all__ = ["command"]

_HEAD: tuple[str, ...] = ("PID", "USER", "SINCE", "NAME", "PROGRAM", "FLAGS")
_PEERS_HEAD: tuple[str, ...] = ("PID", "USER", "NAME", "CRITICAL", "THROUGH")


@click.command(name="list")
@click.argument("vm", required=False)
@of_hypervisor
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--peers", is_flag=True, help="Show instead who shares something with them.")
def command(vm: str | None, hypervisor: str, as_json: bool, peers: bool) -> int:
    """Show which processes of this guest are excluded from checkpoints; on a host, the snapshots
    of each VM, or of the one given by name or UUID.

    On a host: the tree of snapshots, * the one that the VM goes on from, each with the size of its
    saved state, whether it is clean and if not why, and what was kept out: programs, and how much.

    In a guest: NAME is the process's, PROGRAM the file it runs. SINCE is empty for one that was
    born excluded, or excluded before sparc-guestd was last started. FLAGS: memory-only, display, as
    `sparc exclude` was told.

    --peers shows those that are not excluded but share a pipe, a unix socket, a TCP or UDP
    connection within this guest, a terminal, shared memory, or a file that one of both writes with
    an excluded process: they may have been told what it knows. CRITICAL says why `sparc exclude
    --with-peers` does not take one in: init, system, bus, login, display. Members of the group
    sparc see the peers of their own processes. What passed through a socket that is closed by now,
    through the network or through a daemon to others is not seen, nor are datagrams that were sent
    without a connection.

    Exit status: 0, or 2 for a failure.
    """
    from guest_service.client import ask

    if vm is not None or (not peers and on_host()):
        if peers:
            raise click.UsageError("--peers are of processes in this guest: name no VM")
        from host_service.snapshots import show

        return show(vm, as_json, hypervisor)
    if peers:
        return _peers(ask({"command": "peers"}), as_json)
    reply: dict[str, Any] = ask({"command": "list"})
    for entry in reply["processes"]:
        entry["user"] = user_name(entry["uid"]) if entry["uid"] is not None else None
    if as_json:
        click.echo(json.dumps(reply, indent=2))
        return 0
    _print([_HEAD, *(_row(entry) for entry in reply["processes"])])
    return 0


def _peers(reply: dict[str, Any], as_json: bool) -> int:
    for entry in reply["peers"]:
        entry["user"] = user_name(entry["uid"]) if entry["uid"] is not None else None
        entry["told"] = ways(entry["through"])
    if as_json:
        click.echo(json.dumps(reply, indent=2))
        return 0
    rows = [_PEERS_HEAD]
    for entry in reply["peers"]:
        critical = entry["critical"] or ""
        cells = (entry["pid"], entry["user"] or "", entry["name"], critical, entry["told"])
        rows.append(tuple(printable(str(cell)) for cell in cells))
    _print(rows)
    if reply["incomplete"]:
        click.echo(f"sparc: {INCOMPLETE}", err=True)
    return 0


def _print(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    since = entry["since"]
    told = datetime.fromtimestamp(since).isoformat(" ", "seconds") if since is not None else ""
    ended = " (ended)" if entry["exiting"] else ""
    flags = [word for word in ("memory-only", "display") if entry[word.replace("-", "_")]]
    cells = (
        entry["pid"],
        entry["user"] or "",
        told,
        entry["name"] + ended,
        entry["program"] or "",
        ",".join(flags),
    )
    return tuple(printable(str(cell)) for cell in cells)
