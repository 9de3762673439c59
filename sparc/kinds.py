"""Words for the kinds of data, which reports and replies name by short ones (see wire.Kind)."""

from __future__ import annotations

__all__ = ["KINDS"]

KINDS = {
    "anon": "memory of the programs",
    "swap-cache": "memory on its way from or to swap",
    "file": "files that they used",
    "shmem": "shared memory",
    "pipe": "pipes",
    "socket": "sockets",
    "tty": "terminals",
    "console": "consoles",
    "display": "the screen",
    "registers": "registers",
    "other": "other data of the kernel",
    "free": "free memory",
}
"""The kinds of data that are kept out."""
