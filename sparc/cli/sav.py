"""`sparc sav`: info and export."""

from __future__ import annotations

import json
from typing import Any

import click

from sparc.cli.progress import bar, quiet
from sparc.cli.wording import of_file, words
from sparc.errors import SavError
from sparc.printable import printable, size

__all__ = ["command"]


@click.group(name="sav")
def command() -> None:
    """Look into VirtualBox's saved-state files."""


@command.command()
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def info(file: str, as_json: bool) -> int:
    """Show what FILE is, and verify all its checksums.

    Exit status: 0 good, 2 damaged or not readable.
    """
    from sparc.sav.info import describe
    from sparc.sav.walk import Walk

    with bar("Reading") as progress, Walk(file) as walk:
        if progress is not None:
            walk.on_progress = progress
        try:
            walk.run()
        except SavError as error:
            click.echo(of_file(file, error), err=True)
            return 2
        data = describe(walk)
    for entry, problem in zip(data["problems"], walk.problems, strict=True):
        entry["message"] = words(problem)
    click.echo(json.dumps(data, indent=2) if as_json else _text(data))
    if walk.problems:
        click.echo(of_file(file, walk.problems[0]), err=True)
        return 2
    return 0


def _text(data: dict[str, Any]) -> str:
    kind = "live save" if data["live"] else "save of a stopped VM"
    lines = [
        f"VirtualBox  {data['virtualbox']} (r{data['revision']}), {kind}",
        f"File        {size(data['size'])}",
        f"Checksums   {data['checksums']}"
        + ("" if data["stream_checksum"] else " (none over the stream)"),
    ]
    memory = data["memory"]
    if memory:
        lines.append(f"CPUs        {memory['cpus'] or 'unknown'}")
        lines.append(f"RAM         {size(memory['ram'])}, hole {size(memory['hole'])}")
        for entry in memory["ranges"]:
            where = f" at {entry['address']:#x}" if entry["address"] is not None else ""
            owner = f"{entry['device']}: " if entry["device"] else ""
            lines.append(
                f"{entry['kind'].upper():11} {entry['id']}: {owner}{entry['description']}, "
                f"{size(entry['size'])}{where}"
            )
        found = ", ".join(f"{name} {count}" for name, count in data["pages"].items() if count)
        lines.append(f"Pages       {found or 'none'}")
    lines.append("")
    lines.append(
        f"{'Unit':24}{'Inst':>5}{'Ver':>7}{'Pass':>7}{'Offset':>12}{'Stored':>12}{'Content':>12}"
    )
    lines += [
        f"{u['name']:24}{u['instance']:5}{u['version']:7}{u['pass']!s:>7}{u['offset']:#12x}"
        f"{u['stored']:12}{u['content']:12}"
        for u in data["units"]
    ]
    return "\n".join(printable(line) for line in lines)


@command.command()
@click.argument("file", type=click.Path())
@click.argument("out", type=click.Path())
@click.option(
    "--format",
    "form",
    type=click.Choice(["raw", "elf"]),
    default="raw",
    show_default=True,
    help="raw: sparse, offset = guest-physical address; elf: a core for crash, drgn, volatility3.",
)
@quiet
def export(file: str, out: str, form: str) -> int:
    """Write the guest memory in FILE to OUT.

    The result holds all of the guest's secrets; it is readable for you only. Exit status: 0
    written, 2 not (then OUT is left as it was).
    """
    from sparc.sav.export import export_elf, export_raw
    from sparc.sav.state import SavedState

    try:
        with SavedState(file) as state, bar("Writing") as progress:
            (export_elf if form == "elf" else export_raw)(state, out, progress)
    except SavError as error:
        click.echo(of_file(file, error), err=True)
        return 2
    return 0
