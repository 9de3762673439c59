"""`sparc restore`: back to a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sparc.cli.hypervisor import of_hypervisor
from sparc.cli.progress import bar, quiet
from sparc.printable import printable

__all__ = ["command"]


@click.command(name="restore")
@click.argument("vm")
@click.argument("snapshot")
@click.option("--force", is_flag=True, help="Give up the VM's present state if it has one.")
@click.option("--headless", "front_end", flag_value="headless", help="Start it without a window.")
@click.option("--gui", "front_end", flag_value="gui", help="Start it in a window.")
@click.option("--no-start", is_flag=True, help="Leave it off, ready to be started.")
@of_hypervisor
@click.option(
    "--qmp", type=click.Path(path_type=Path), help="Into the QEMU that waits there for a state."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(
    vm: str,
    snapshot: str,
    force: bool,
    front_end: str | None,
    no_start: bool,
    hypervisor: str,
    qmp: Path | None,
    as_json: bool,
) -> int:
    """Make the VM what it was at SNAPSHOT (a name or UUID), and start it.

    It is started in what runs it now, or what it is set to run in. A VM that runs, is paused or is
    saved is left alone without --force, which powers it off first.

    Under QEMU it is started by the command line that it was started with before; --force also does
    not mind that a disk which has no snapshot was written to since. With --qmp its state is loaded
    into a QEMU that was started with -incoming defer.

    Exit status: 0 restored, 2 not.
    """
    from host_service.restore import restore
    from host_service.virtualbox import start

    with bar("Restoring") as progress:
        done = restore(
            vm,
            snapshot,
            force=force,
            front_end=front_end or "",
            hypervisor=hypervisor,
            monitor=qmp,
            starter=None if no_start else start,
            tell=progress,
        )
    clean, why = done.verdict.clean, done.verdict.why
    if as_json:
        data = {
            "vm": {"name": done.vm, "uuid": done.vm_uuid},
            "snapshot": {"name": done.snapshot.name, "uuid": done.snapshot.uuid},
            "clean": clean,
            "why": why,
            "started": done.front_end,
        }
        click.echo(json.dumps(data, indent=2))
    else:
        now = f"runs ({done.front_end})" if done.front_end else "is ready to be started"
        word = "clean" if clean else "NOT CLEAN"
        click.echo(printable(f"{done.vm} {now}, restored from {done.snapshot.name}"))
        click.echo(printable(f"  the checkpoint is {word}: {why}"))
    if done.unnoted:
        click.echo(printable(f"sparc: not noted in the journal: {done.unnoted}"), err=True)
    return 0
