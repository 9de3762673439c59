"""Words for what reports name by short words of the contract."""

from __future__ import annotations

__all__ = ["STEPS"]

STEPS = {
    "prepare": "the guest prepared itself",
    "suspend": "the VM was suspended",
    "stash": "memory was put aside",
    "zero": "memory was zeroed",
    "write": "the state was written",
    "put_back": "memory was put back",
}
"""The steps of a checkpoint, in their order."""
