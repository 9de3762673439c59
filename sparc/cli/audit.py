"""`sparc audit`: does a secret stand in this checkpoint?"""

from __future__ import annotations

import os

import click

from sparc.cli.progress import bar, quiet
from sparc.cli.secret_files import secret_files
from sparc.cli.wording import words
from sparc.errors import SavError

__all__ = ["Quiet", "command", "resolve"]


def resolve(target: str) -> str:
    """The file that FILE|VM[:SNAPSHOT] names: an existing path, or what VirtualBox says."""
    if os.path.lexists(target) or "/" in target:
        return target
    from host_service.virtualbox import saved_state

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


@click.command(name="audit", cls=Quiet)
@click.argument("target", metavar="FILE|VM[:SNAPSHOT]")
@secret_files("One secret a line; - is standard input. Repeatable. Without it: standard input.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@quiet
def command(target: str, files: tuple[str, ...], as_json: bool) -> int:
    """Look for secrets in a saved state, or in that of a VM or snapshot.

    Each secret is searched for as UTF-8, UTF-16LE, UTF-32LE, cells of a text console, base64 and
    hex, in the guest's RAM (across page boundaries too), in every other unit, and inside gzip, zlib
    and PNG data. Secrets are read from files or standard input only, and are never printed: the
    output names them by number.

    Not found: secrets under 8 bytes that run from one page frame into another that is no neighbour.
    A compressed stream in RAM is followed through adjacent pages only. Text drawn as pixels is not
    found.

    Exit status: 0 clean, 1 residue found, 2 not everything could be read.
    """
    from sparc.audit.secrets import read_secrets

    file = resolve(target)
    secrets = read_secrets(list(files))
    from sparc.audit.run import audit

    try:
        with bar("Searching") as progress:
            report = audit(file, secrets, progress)
    except SavError as error:
        click.echo(f"sparc: {file}: {words(error)}", err=True)
        return 2
    if as_json:
        import json

        data = report.as_json()
        for entry, problem in zip(data["problems"], report.problems, strict=True):
            entry["message"] = words(problem)
        click.echo(json.dumps(data, indent=2))
    else:
        from sparc.cli.audit_text import text

        click.echo(text(report))
    if report.problems:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        click.echo(f"sparc: {file}: {words(report.problems[0])}{more}", err=True)
    return report.status
