"""`sparc run`: a command that is excluded from its first instruction."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping

import click

from sparc.cli.guest_words import failure, warnings
from sparc.printable import printable

__all__ = ["command", "exclude_self", "start"]

_NOT_RUNNABLE = 126
_NOT_FOUND = 127


@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] CMD...")
def command(argv: tuple[str, ...]) -> int:
    """Start CMD so that it is kept out of checkpoints from its first instruction.

    It has this terminal, folder and environment. If it cannot be excluded it is not started.

    Exit status: that of CMD; 2 if it could not be excluded, 126 if it could not be started, 127 if
    there is no such command.
    """
    if "/" not in argv[0] and shutil.which(argv[0]) is None:
        click.echo(printable(f"sparc: {argv[0]}: no such command"), err=True)
        return _NOT_FOUND
    # This process itself is excluded, and then becomes CMD.
    return start(argv) if exclude_self() else 2


def exclude_self() -> bool:
    """Have this process excluded, and so all that it starts from now on; whether it is.

    Why not, and what to know of it, is printed. Raises GuestError.
    """
    from guest_service.client import ask

    reply = ask({"command": "exclude", "self": True})
    done, failed = _entries(reply["done"]), _entries(reply["failed"])
    for entry in failed:
        click.echo(printable(f"sparc: {failure(entry, '')}"), err=True)
    if failed or not done:
        return False
    for entry in done:
        for text in warnings(entry):
            click.echo(printable(f"sparc: {text}"), err=True)
    return True


def start(argv: tuple[str, ...] | list[str], environment: Mapping[str, str] | None = None) -> int:
    """Become another program; an exit status if that cannot be."""
    # Python ignores these, and what is ignored stays so in a new program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environment if environment is not None else os.environ)
    except OSError as error:
        click.echo(printable(f"sparc: {argv[0]}: {error.strerror}"), err=True)
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE


def _entries(value: object) -> list[dict[str, object]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
