"""A progress bar for what takes more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["bar", "is_quiet", "is_shown", "quiet"]

_AFTER = 1.0
_EVERY = 0.1
_QUIET = f"{__name__}.quiet"


def _note(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_QUIET] = value


quiet = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_note, help="Show no progress."
)
"""Gives a command the option; `bar` looks for it by itself."""


def is_quiet() -> bool:
    """Whether the command was told --quiet."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and bool(ctx.meta.get(_QUIET))


def is_shown() -> bool:
    """Whether progress is: not with --quiet, nor where no terminal shows it."""
    return sys.stderr.isatty() and not is_quiet()


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yields a callback (done, total), or None where no progress is to be shown."""
    if not is_shown():
        yield None
        return
    started = last = time.monotonic()
    shown = False

    def update(done: int, total: int) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if now - started < _AFTER or now - last < _EVERY:
            return
        last, shown = now, True
        part = min(done / total, 1.0) if total else 1.0
        print(
            f"\r{label} [{'#' * int(part * 30):30}] {part:4.0%}",
            end="",
            file=sys.stderr,
            flush=True,
        )

    try:
        yield update
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
