"""The option that says where secrets stand; they themselves are no arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["secret_files"]


def secret_files(help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command the repeatable option; it comes as `files`."""
    return click.option("--secret-file", "files", multiple=True, type=click.Path(), help=help)
