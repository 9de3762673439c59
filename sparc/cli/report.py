"""`sparc report`: a checkpoint as a page to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparc.cli.audit import Quiet, resolve
from sparc.cli.progress import bar, quiet
from sparc.cli.secret_files import secret_files
from sparc.cli.wording import of_file, words
from sparc.errors import SavError
from sparc.printable import printable

if TYPE_CHECKING:
    from host_service.page.document import Audited, Subject

__all__ = ["command"]


@click.command(name="report", cls=Quiet)
@click.argument("target", metavar="FILE|VM[:SNAPSHOT]")
@click.option("--html", "out", required=True, type=click.Path(), help="The page to be written.")
@secret_files("Audit it too: one secret a line; - is standard input. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(target: str, out: str, files: tuple[str, ...], as_json: bool) -> int:
    """Write a page (HTML, for you alone to read) on a saved state, or that of a VM or snapshot.

    It shows whether the checkpoint is clean, a map of the guest's memory (saved, kept out, free),
    what was kept out by kind, how long each step took, and with --secret-file what `sparc audit`
    finds; the secrets themselves are not in it. It is one file that needs no network and no script.

    What was kept out is read from the guest's own list in the file. Without that, free memory is
    told apart where the guest's kernel can be read (pip install sparc[scrub]).

    Exit status: 0 written, and the checkpoint is clean; 1 written, and it is not; 2 not written.
    """
    from host_service.page.document import document
    from host_service.page.make import look_into
    from sparc.sav.export import replacing

    file = resolve(target)
    if Path(out).exists() and Path(out).samefile(file):
        raise click.UsageError("the page would take the checkpoint's place")
    try:
        audited = _audit(file, files) if files else None
        subject = look_into(target, Path(file), bar, audited)
    except SavError as error:
        click.echo(of_file(file, error), err=True)
        return 2
    text = document(subject).encode()
    with replacing(out) as fd, open(fd, "wb", closefd=False) as page:
        page.write(text)
    why = subject.why_not_clean
    if as_json:
        click.echo(json.dumps(_data(subject, out), indent=2))
    else:
        click.echo(printable(f"{subject.title}: {'NOT CLEAN: ' + why if why else 'clean'}"))
        click.echo(printable(f"  {out}"))
    return 1 if why else 0


def _audit(file: str, files: tuple[str, ...]) -> Audited:
    from host_service.page.document import Audited
    from sparc.audit.report import CLEAN
    from sparc.audit.run import audit
    from sparc.audit.secrets import read_secrets
    from sparc.cli.audit_text import text

    secrets = read_secrets(list(files))
    with bar("Searching") as progress:
        found = audit(file, secrets, progress)
    lines = text(found).splitlines() + [words(problem) for problem in found.problems]
    return Audited(found.status == CLEAN, lines)


def _data(subject: Subject, out: str) -> dict[str, object]:
    report = subject.verdict.report
    return {
        "file": str(subject.state_file),
        "html": out,
        "clean": not subject.why_not_clean,
        "why": subject.why_not_clean or subject.verdict.why,
        "pages": {kind.name.lower(): n for kind, n in subject.memory.counts().items()},
        "manifest": subject.memory.manifest_absent or None,
        "free": subject.memory.free_unknown or None,
        "audit": None if subject.audited is None else subject.audited.clean,
        "report": report.as_json() if report else None,
    }
