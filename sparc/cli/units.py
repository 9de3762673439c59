"""systemd's units by name: where their processes are in the control groups."""

from __future__ import annotations

import os
from pathlib import Path

from sparc.errors import GuestError

__all__ = ["groups"]


def groups(unit: str, root: str | None, uid: int) -> list[str]:
    """The groups of the units of that name, as paths from the root of the hierarchy.

    `root`: where it is mounted. Of root, the system's where there is one, for below users' managers
    anybody can make such a group; else all, as a service may run for several users at once. Of
    another user `uid`, those of their own manager where there is one. Raises GuestError.
    """
    found: list[str] = []
    for folder, names, _ in os.walk(root or "/nonexistent"):
        if unit in names:
            found.append(str(Path(folder, unit)).removeprefix(str(root)))
            # What is below it comes along.
            names.remove(unit)
    system = [path for path in found if _is_systems(path)]
    if not uid and system:
        return sorted(system)
    own = [path for path in found if f"/user-{uid}.slice/" in path]
    if uid and own:
        return sorted(own)
    if not found:
        raise GuestError("no-unit", value=unit)
    return sorted(found)


def _is_systems(path: str) -> bool:
    """Whether there are only slices above it: nobody else makes groups there."""
    return all(part.endswith(".slice") for part in path.strip("/").split("/")[:-1])
