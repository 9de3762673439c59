"""Words for what reports name by short words of the contract."""

from __future__ import annotations

__all__ = ["KINDS", "STEPS"]

STEPS = {
    "prepare": "the guest prepared itself",
    "suspend": "the VM was suspended",
    "stash": "memory was put aside",
    "zero": "memory was zeroed",
    "write": "the state was written",
    "put_back": "memory was put back",
}
"""The steps of a checkpoint, in their order."""

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
