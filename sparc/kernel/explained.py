"""One error for all the ways in which a kernel's memory is not what was expected."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import drgn

from sparc.errors import KernelNotRead

__all__ = ["explained"]


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Whatever drgn raises within becomes KernelNotRead, saying what was to be read."""
    try:
        yield
    except (LookupError, AttributeError, TypeError, ValueError, drgn.FaultError) as error:
        raise KernelNotRead(f"the kernel in memory does not show {what}") from error
