"""`sparc top`: what is excluded in a guest, or the VMs of a host and their checkpoints, live."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable

import click

from sparc.cli.side import on_host
from sparc.frame import Frame, text

__all__ = ["command"]


@click.command(name="top")
@click.argument("vm", required=False)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2, max=3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="So long between two looks.",
)
@click.option("--once", is_flag=True, help="Show it once and end, as where there is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, once.")
def command(vm: str | None, interval: float, once: bool, as_json: bool) -> int:
    """Show, live, what is excluded in this guest, or a host's VMs and checkpoints. q or Ctrl-C
    ends it.

    In a guest: what a checkpoint now would keep out, by kind, of all that is excluded together.
    The module counts it, at most every ten seconds and seldom where that takes long, for the guest
    stands still meanwhile, and files of the excluded are written to their disks. Then what each
    process has: its own MEMORY, and what of it is in SWAP instead; SHARED memory, which others may
    have too; how many FILES (folders too), PIPES, SOCKETS and TERMINALS are open. ? is what you may
    not see, - what is not kept out. Memory that an outsider has too since a fork is not kept out
    either, nor are programs and libraries: so the kinds may be less than the processes.

    On a host: each VM, or the one given by name or UUID, as in sparc status, and its checkpoints as
    in sparc list, the newest first.

    Exit status: 0, or 2 for a failure.
    """
    if math.isnan(interval):
        raise click.BadParameter("not a number of seconds", param_hint="--interval")
    make = _maker(vm)
    if as_json:
        click.echo(json.dumps(make().data, indent=2))
        return 0
    if once or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        click.echo(text(make()))
        return 0
    try:
        from sparc.cli.live import watch
    except ModuleNotFoundError as error:
        click.echo(text(make()))
        package = f"python3-{error.name}"
        click.echo(f"sparc: shown once: to go on, it needs {error.name} ({package})", err=True)
        return 0
    return watch(make, interval)


def _maker(vm: str | None) -> Callable[[], Frame]:
    """What looks, on the side that this is."""
    if vm is None and not on_host():
        from sparc.cli.top_guest import frame

        return frame
    from host_service.overview import overview

    return lambda: overview(vm)
