"""`sparc checkpoint`: a snapshot of a running VM without the excluded programs."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparc.cli.hypervisor import of_hypervisor
from sparc.cli.progress import bar, quiet
from sparc.printable import duration, printable, size

if TYPE_CHECKING:
    from host_service.checkpoint import Checkpoint
    from host_service.reports import Report

__all__ = ["command"]

_PAGE = 4096
_SHOWN = 8


@click.command(name="checkpoint")
@click.argument("vm")
@click.option("--name", help="The snapshot's name; default: like 'sparc 2026-11-22 20:31:07'.")
@click.option("--description", default="", help="The snapshot's description; sparc adds a line.")
@click.option("--live", is_flag=True, help="As VirtualBox's live snapshots are asked for.")
@of_hypervisor
@click.option("--qmp", type=click.Path(path_type=Path), help="QEMU's QMP socket.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(
    vm: str,
    name: str | None,
    description: str,
    live: bool,
    hypervisor: str,
    qmp: Path | None,
    as_json: bool,
) -> int:
    """Take a snapshot of the running or paused VM, without what is excluded in its guest.

    VM is a name or a UUID; of QEMU, its -name or the path of its QMP socket, and
    its checkpoints are files in ~/.local/state/sparc/qemu. Ctrl-C cancels it, unless it is nearly
    done.

    Exit status: 0 taken and clean, 1 taken but not clean, 2 not taken.
    """
    from host_service.checkpoint import default_name, take

    chosen = default_name(datetime.now()) if name is None else name
    with bar("Saving") as progress:
        done = take(
            vm,
            chosen,
            description,
            live=live,
            hypervisor=hypervisor,
            monitor=qmp,
            tell=progress,
        )
    if as_json:
        click.echo(json.dumps(_data(done), indent=2))
    else:
        click.echo(_text(done))
    if done.interrupted:
        click.echo("sparc: too late to cancel: the checkpoint was taken", err=True)
    if done.undescribed:
        why = f"its description in VirtualBox does not say so: {done.undescribed}"
        click.echo(printable(f"sparc: {done.vm}: {done.snapshot.name}: {why}"), err=True)
    if not done.verdict.clean:
        where = f"{done.vm}: {done.snapshot.name}"
        click.echo(printable(f"sparc: {where}: NOT CLEAN: {done.verdict.why}"), err=True)
    return 0 if done.verdict.clean else 1


def _data(done: Checkpoint) -> dict[str, Any]:
    report = done.verdict.report
    return {
        "vm": {"name": done.vm, "uuid": done.vm_uuid},
        "snapshot": {"name": done.snapshot.name, "uuid": done.snapshot.uuid},
        "state_file": str(done.snapshot.state_file) if done.snapshot.state_file else None,
        "clean": done.verdict.clean,
        "why": done.verdict.why,
        "interrupted": done.interrupted,
        "report": report.as_json() if report else None,
    }


def _text(done: Checkpoint) -> str:
    verdict = "clean" if done.verdict.clean else "NOT CLEAN"
    lines = [f"{done.vm}: {done.snapshot.name}: {verdict}", f"  {done.snapshot.state_file}"]
    lines.append(f"  {done.verdict.why}")
    if done.verdict.report:
        lines += _details(done.verdict.report)
    return "\n".join(printable(line) for line in lines)


def _details(report: Report) -> list[str]:
    from host_service.words import STEPS

    names = [f"{process.name} ({process.pid})" for process in report.excluded[:_SHOWN]]
    if len(report.excluded) > _SHOWN:
        names.append(f"{len(report.excluded) - _SHOWN} more")
    lines = [f"  kept out: {', '.join(names) or 'no program'}"]
    for kind, amount in sorted(report.kinds.items()):
        whole = f"  in {amount.pages} pages" if amount.pages else ""
        lines.append(f"    {kind:12} {size(amount.pages * _PAGE + amount.bytes):>10}{whole}")
    lines += [
        f"  {duration(report.steps_us[step]):>8}  {words}"
        for step, words in STEPS.items()
        if step in report.steps_us
    ]
    return lines
