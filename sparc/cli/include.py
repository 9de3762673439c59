"""`sparc include`: the undoing of `sparc exclude`."""

from __future__ import annotations

from typing import Any

import click

from sparc.cli.guest import Whom, change, whom

__all__ = ["command"]


@click.command(name="include")
@whom
def command(as_json: bool, **named: Any) -> int:
    """Let excluded processes, and their children that live now, into checkpoints again.

    Exit status: 0 all done, 1 some could not be included, 2 none was.
    """
    return change("include", Whom(**named), as_json)
