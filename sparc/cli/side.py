"""Which side of sparc this machine is, for commands that both have."""

from __future__ import annotations

import importlib.util

__all__ = ["on_host"]


def on_host() -> bool:
    """Whether it is a host: what is installed for one, and nothing of a guest's at work."""
    from guest_service.client import here

    return not here() and importlib.util.find_spec("host_service") is not None
