"""The `sparc` command: finds the subcommand, and words every error that comes out of it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

__all__ = ["main"]

# Each command is a module of its own, imported when it is asked for: start-up time counts where
# an audit takes half a second.
_COMMANDS = {
    "audit": ("sparc.cli.audit", "Look for secrets in a saved state or snapshot."),
    "sav": ("sparc.cli.sav", "Look into VirtualBox's saved-state files."),
}

FAILED = 2


class _Commands(click.Group):
    """Subcommands by name, from modules that hold a click command called `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in sorted(_COMMANDS.items())])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sparc")
def cli() -> None:
    """Keeps chosen programs out of virtual machine checkpoints."""


def main(args: list[str] | None = None) -> Any:
    """Run the command line; exits with 0, or 1 for what a command found, or 2 for a failure."""
    from sparc.errors import SparcError

    try:
        status = cli.main(args, standalone_mode=False)
    except SparcError as error:
        from sparc.cli.wording import words

        _fail(words(error))
    except click.ClickException as error:
        error.show()
        sys.exit(FAILED)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted")
    except BrokenPipeError:
        # Whoever read our output has gone; nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except MemoryError:
        _fail("not enough memory")
    except Exception as error:
        # A message might quote what was read, and that may be a secret: the type says enough.
        if os.environ.get("SPARC_DEBUG"):
            raise
        _fail(
            f"internal error ({type(error).__name__}); SPARC_DEBUG=1 shows where, please report it"
        )
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    click.echo(f"sparc: {message}", err=True)
    sys.exit(FAILED)
