"""`sparc scrub`: take things out of a saved state that exists already."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from sparc.cli.audit import Quiet, resolve
from sparc.cli.progress import bar, quiet
from sparc.cli.secret_files import secret_files
from sparc.cli.wording import of_file
from sparc.errors import SavError, ScrubError
from sparc.printable import printable, size

if TYPE_CHECKING:
    from sparc.scrub.report import Report

__all__ = ["command"]


def _numbers(text: str, sign: str, form: str) -> tuple[int, int]:
    """Two numbers around a sign: decimal, or hexadecimal with 0x in front."""
    first, _, second = text.partition(sign)
    try:
        found = int(first, 0), int(second, 0)
    except ValueError:
        found = -1, -1
    if min(found) < 0:
        raise click.BadParameter(f"not of the form {form}, in decimal or 0x...")
    return found


def _page(text: str) -> list[int]:
    try:
        return [int(part, 0) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            "not a number, decimal or 0x..., nor several with commas"
        ) from None


def _pages(text: str) -> tuple[int, int]:
    return _numbers(text, "-", "FIRST-LAST")


def _extent(text: str) -> tuple[int, int]:
    return _numbers(text, "+", "ADDRESS+LENGTH")


@click.command(name="scrub", cls=Quiet)
@click.argument("target", metavar="FILE|VM[:SNAPSHOT]")
@click.option(
    "--page",
    multiple=True,
    type=_page,
    metavar="PFN[,PFN]...",
    help="Page frames by their numbers (guest-physical address / 4096).",
)
@click.option(
    "--pages",
    multiple=True,
    type=_pages,
    metavar="FIRST-LAST",
    help="Page frames, the last one included.",
)
@click.option(
    "--extent",
    "extents",
    multiple=True,
    type=_extent,
    metavar="ADDRESS+LENGTH",
    help="So many bytes from a guest-physical address on.",
)
@secret_files("What stands in it, one secret a line, in all of audit's forms; - is standard input.")
@click.option(
    "--whole-pages",
    is_flag=True,
    help="Of secrets not just their bytes, but the pages around.",
)
@click.option("--free", is_flag=True, help="What the guest's kernel has as free memory.")
@click.option(
    "--process",
    "pids",
    multiple=True,
    type=click.IntRange(min=1),
    metavar="PID",
    help="What belongs to a process of the guest.",
)
@click.option(
    "--name", "names", multiple=True, metavar="NAME", help="The same, for all of that name."
)
@click.option("--screen", is_flag=True, help="Video memory, and VirtualBox's picture of it.")
@click.option("--dry-run", is_flag=True, help="Say what would be taken out, and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(
    target: str,
    page: tuple[tuple[int, ...], ...],
    pages: tuple[tuple[int, ...], ...],
    extents: tuple[tuple[int, ...], ...],
    files: tuple[str, ...],
    whole_pages: bool,
    free: bool,
    pids: tuple[int, ...],
    names: tuple[str, ...],
    screen: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Take things out of a saved state that exists already, in place.

    The file is written anew without what is named; the new one is read again from end to end,
    searched for the secrets, put in the old one's place at one stroke, and the old one's blocks are
    overwritten. If anything goes wrong the old file is as it was. Whatever else is asked for,
    earlier copies of pages in a live save go too: a restore does not use them.

    What programs of the guest or its kernel still use is zeros after a restore, and they may fail
    or the guest may crash. Of a secret just its bytes are taken, which does least harm; what is
    compressed around it goes as a whole. A process that is taken out dies after a restore. Of free
    memory nobody misses anything.

    Overwriting reaches the old blocks on a disk that turns, with ext4 in its usual mode or the
    like. It does not on file systems that copy on write (btrfs, ZFS), in journals of data, in
    copies that share blocks, in backups, or on SSDs, which move blocks about.

    Exit status: 0 all that was asked for is out, 1 something is left, and named, 2 nothing was
    done and the file is as it was. With --dry-run, what it would be.
    """
    from sparc.audit.secrets import read_secrets
    from sparc.scrub.request import Request
    from sparc.scrub.run import scrub

    request = Request(
        pages=[range(n, n + 1) for n in _flat(page)] + [range(a, b + 1) for a, b in pages],
        extents=[(address, size) for address, size in extents],
        secrets=read_secrets(list(files)) if files else [],
        whole_pages=whole_pages,
        screen=screen,
        free=free,
        pids=list(pids),
        names=list(names),
    )
    if not any((request.pages, extents, files, screen, free, pids, names)):
        raise click.UsageError("nothing to take out: name pages, extents, secrets, ...")
    if any(size == 0 for _, size in extents) or not all(request.pages):
        raise click.UsageError("a range of pages or an extent is empty")
    file = _file(target)
    try:
        report = scrub(file, request, bar, dry_run=dry_run)
    except SavError as error:
        click.echo(of_file(file, error), err=True)
        return 2
    click.echo(json.dumps(report.as_json(), indent=2) if as_json else _text(report))
    for why, kinds in _by_reason(report).items():
        click.echo(printable(f"sparc: {file}: NOT CLEAN: {', '.join(kinds)}: {why}"), err=True)
    return report.status


def _flat(several: Iterable[Iterable[int]]) -> list[int]:
    return [number for one in several for number in one]


def _file(target: str) -> str:
    """The file of the target; of a VM, only while VirtualBox is not at work on it."""
    file = resolve(target)
    if not (os.path.lexists(target) or "/" in target):
        from host_service.virtualbox import find
        from host_service.virtualbox.machine import State

        if find(target.partition(":")[0]).state is State.BUSY:
            cause = "VirtualBox is saving, restoring or changing this VM"
            raise ScrubError(file, cause, "try again when that is over")
    return file


def _by_reason(report: Report) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for left in report.left:
        kinds.setdefault(left.why, []).append(left.kind)
    return kinds


def _text(report: Report) -> str:
    lines = [report.path]
    for pid, name in report.processes:
        lines.append(f"  process {pid} {name}")
    for kind, amount in report.kinds.items():
        parts = [f"{amount.pages} pages"] * bool(amount.pages)
        parts += [f"{amount.bytes} bytes"] * bool(amount.bytes)
        lines.append(f"  {kind:30} {', '.join(parts) or 'none'}")
    lines += [f"  note: {note}" for note in report.notes]
    if report.fate:
        lines.append(f"  old file: {report.fate}")
    if report.written:
        before, after = map(size, report.sizes)
        done = f"rewritten, {before} before, {after} now"
    else:
        done = "nothing was written (--dry-run)" if report.dry_run else "nothing to take out"
    verdict = "NOT CLEAN, see below" if report.left else "all of it is out"
    if report.dry_run and not report.left:
        verdict = "all of it would be out"
    lines.append(f"  {done}: {verdict}")
    return "\n".join(printable(line) for line in lines)
