"""The `sparc` command: finds the subcommand, and words every error that comes out of it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["main"]

# Each command is a module of its own, imported when it is asked for: start-up time counts where
# an audit takes half a second.
_COMMANDS = {
    "audit": ("sparc.cli.audit", "Look for secrets in a saved state or snapshot."),
    "doctor": ("sparc.cli.doctor", "Say what is wrong here, and the command that mends it."),
    "exclude": ("sparc.cli.exclude", "Keep processes of this guest out of checkpoints."),
    "guest": ("sparc.cli.guest_setup", "Set up this guest from a checkout."),
    "include": ("sparc.cli.include", "Let excluded processes into checkpoints again."),
    "list": ("sparc.cli.list", "Show what is excluded in this guest, or a VM's snapshots."),
    "log": ("sparc.cli.log", "Show which checkpoints were taken and restored here."),
    "run": ("sparc.cli.run", "Start a command that is excluded from its first instruction."),
    "checkpoint": ("sparc.cli.checkpoint", "Take a snapshot of a VM without what is excluded."),
    "host": ("sparc.cli.host", "Set up this host: VirtualBox's extension pack, policies."),
    "report": ("sparc.cli.report", "Write a page on a checkpoint, to look at."),
    "restore": ("sparc.cli.restore", "Make a VM what it was at a checkpoint."),
    "sav": ("sparc.cli.sav", "Look into VirtualBox's saved-state files."),
    "scrub": ("sparc.cli.scrub", "Take things out of a saved state that exists already."),
    "shell": ("sparc.cli.shell", "Start a shell that is excluded with its terminal."),
    "status": ("sparc.cli.status", "Show what sparc does: in this guest, or on this host."),
    "top": ("sparc.cli.top", "Show, live, what is excluded here, or VMs and their checkpoints."),
    "watch": ("sparc.cli.watch", "Show saves of this host's VMs as they happen, from outside."),
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        # click's own would import them all, for a line of help each.
        own = [
            CompletionItem(name, help=text)
            for name, (_, text) in sorted(_COMMANDS.items())
            if name.startswith(incomplete)
        ]
        return own + click.Command.shell_complete(self, ctx, incomplete)

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
    except ModuleNotFoundError as error:
        # A guest has no reader of saved states, for example.
        _fail(f"this command needs {error.name}, which is not installed on this machine")
    except Exception as error:
        # A message might quote what was read, and that may be a secret: the type says enough.
        if os.environ.get("SPARC_DEBUG"):
            raise
        _fail(
            f"internal error ({type(error).__name__}); SPARC_DEBUG=1 shows where, please report it"
        )
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> None:
    from sparc.printable import printable

    # A message may quote a guest.
    click.echo(f"sparc: {printable(message)}", err=True)
    sys.exit(FAILED)
