"""A progress bar for what takes more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["bar"]

_AFTER = 1.0
_EVERY = 0.1


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yields a callback (done, total), or None when standard error is not a terminal."""
    if not sys.stderr.isatty():
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
        part = done / total if total else 1.0
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
