"""`sparc log`: which checkpoints were taken and restored on this host."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command(name="log")
@click.argument("vm", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on, with each one as it comes.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    metavar="COUNT",
    help="So many of the last ones; default: all, with --follow 10.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
def command(vm: str | None, follow: bool, lines: int | None, as_json: bool) -> int:
    """Show this host's journal of checkpoints and restores, of all your VMs or of one (its name or
    UUID): when, whether clean, what was kept out.

    Checkpoints of VMs with the extension pack are noted by sparc-hostd while it runs, whoever takes
    them. Of restores, those by sparc restore are noted.

    Exit status: 0, or 2 for a failure.
    """
    from host_service.log import show

    return show(vm, on=follow, last=lines, as_json=as_json)
