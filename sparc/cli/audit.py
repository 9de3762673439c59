"""`sparc audit`: does a secret stand in this checkpoint?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparc.cli.progress import bar, quiet
from sparc.cli.secret_files import secret_files
from sparc.cli.wording import of_file
from sparc.cli.wording import words as words_for
from sparc.errors import SparcError

if TYPE_CHECKING:
    from sparc.audit.report import Report

__all__ = ["Quiet", "command", "resolve"]

_HINT = "; secrets are read from --secret-file or standard input"


def resolve(target: str) -> str:
    """The file that FILE|VM[:SNAPSHOT] names: an existing path, or what the hypervisor says."""
    if os.path.lexists(target) or "/" in target:
        return target
    from host_service.hypervisor import saved_state

    vm, _, snapshot = target.partition(":")
    return os.fspath(saved_state(vm, snapshot or None))


class Quiet(click.Command):
    """Does not repeat what stands on the command line by mistake: it may be a secret."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError("no such option", ctx) from error
        except click.UsageError as error:
            if "unexpected" not in error.message:
                raise
            message = "one FILE or VM; secrets are read from --secret-file or standard input"
            raise click.UsageError(message, ctx) from error


def targets(words: tuple[str, ...]) -> tuple[list[str], bool]:
    """The files that words name, each once, in order; and whether there could have been several.

    None of the words is repeated: it may be a secret that was not meant to be there.
    """
    found: dict[str, None] = {}
    several = len(words) > 1
    for number, word in enumerate(words, 1):
        if os.path.lexists(word):
            found[word] = None
        elif any(sign in word for sign in "*?["):
            several = True
            pattern = Path(word)
            inside = pattern.relative_to(pattern.anchor)
            fitting = sorted(map(str, Path(pattern.anchor).glob(str(inside))))
            if not fitting:
                raise click.UsageError(f"no file fits argument {number}{_HINT}")
            found.update(dict.fromkeys(fitting))
        else:
            found[_named(word, number) if several else resolve(word)] = None
    return list(found), several


def _named(word: str, number: int) -> str:
    if "/" in word:
        raise click.UsageError(f"argument {number} is no file{_HINT}")
    try:
        return resolve(word)
    except SparcError as error:
        cause = getattr(error, "cause", "")
        why = "" if any(part in cause for part in word.split(":") if part) else f": {cause}"
    raise click.UsageError(f"argument {number} is no file, nor is it VirtualBox's{why}{_HINT}")


@click.command(name="audit", cls=Quiet)
@click.argument("words", metavar="FILE|VM[:SNAPSHOT]...", nargs=-1, required=True)
@secret_files("One secret a line; - is standard input. Repeatable. Without it: standard input.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Search on a Dask cluster, as tls://HOST:8786. Its workers see the same files.",
)
@click.option("--tls-ca-file", type=click.Path(), help="Who signs for that cluster (PEM).")
@click.option("--tls-cert", type=click.Path(), help="This client's certificate (PEM).")
@click.option("--tls-key", type=click.Path(), help="And its key (PEM). Default: Dask's settings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(
    words: tuple[str, ...],
    files: tuple[str, ...],
    scheduler: str | None,
    tls_ca_file: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    as_json: bool,
) -> int:
    """Look for secrets in saved states, or in those of VMs or snapshots.

    Each secret is searched for as UTF-8, UTF-16LE, UTF-32LE, cells of a text console, base64 and
    hex, in the guest's RAM (across page boundaries too), in every other unit, and inside gzip, zlib
    and PNG data. Secrets are read from files or standard input only, and are never printed: the
    output names them by number.

    Many files, and large ones, are searched by all processors. A pattern may be quoted, as in
    'archive/**/*.sav'. With --scheduler the workers of a Dask cluster do it (pip install
    sparc[cluster], there too); they and the scheduler learn the secrets.

    Not found: secrets under 8 bytes that run from one page frame into another that is no neighbour.
    A compressed stream in RAM is followed through adjacent pages only. Text drawn as pixels is not
    found.

    Exit status: 0 clean, 1 residue found, 2 not everything could be read.
    """
    from sparc.audit.secrets import read_secrets

    tls = [file for file in (tls_ca_file, tls_cert, tls_key) if file is not None]
    if tls and (scheduler is None or len(tls) != 3):
        raise click.UsageError(
            "--tls-ca-file, --tls-cert and --tls-key go together, and with --scheduler"
        )
    paths, several = targets(words)
    secrets = read_secrets(list(files))
    from sparc.audit.many import audit_all

    pool = None
    if scheduler is not None:
        from sparc.audit.cluster import Tls, workers_at

        pool = workers_at(scheduler, Tls(*tls) if tls else None)
    with bar("Searching") as progress:
        reports = audit_all(paths, secrets, pool, progress)
    if several:
        _tell_all(reports, as_json)
    elif reports[0].searched:
        _tell(reports[0], as_json)
    for report in reports:
        _warn(report)
    return max(report.status for report in reports)


def _tell(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_data(report), indent=2))
        return
    from sparc.cli.audit_text import text

    click.echo(text(report))


def _tell_all(reports: list[Report], as_json: bool) -> None:
    if as_json:
        files = [_data(report) for report in reports]
        worst = max(reports, key=lambda report: report.status)
        click.echo(json.dumps({"status": worst.as_json()["status"], "files": files}, indent=2))
        return
    from sparc.cli.audit_text import text_of_all

    click.echo(text_of_all(reports))


def _data(report: Report) -> dict[str, Any]:
    data = report.as_json()
    for entry, problem in zip(data["problems"], report.problems, strict=True):
        entry["message"] = words_for(problem)
    return data


def _warn(report: Report) -> None:
    """The first of what could not be read."""
    if not report.problems:
        return
    first, *others = report.problems
    more = f" (and {len(others)} more)" if others else ""
    click.echo(of_file(report.path, first) + more, err=True)
