"""The disks of a VM at a checkpoint: a snapshot inside each that can have one (qcow2).

A checkpoint's memory fits one content of the disks only. What cannot have a snapshot is noted with
its time of change, so that a restore knows whether it is still that content.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_service.errors import HostError
from host_service.qemu.monitor import Monitor
from host_service.qemu.store import Disk

__all__ = ["Snapshot", "forget", "planned", "take", "told"]


@dataclass(frozen=True)
class Snapshot:
    """Of the disk that QEMU calls `device`, in its file."""

    device: str
    name: str


def _writable(monitor: Monitor) -> list[dict[str, Any]]:
    return [
        one
        for one in monitor.ask("query-block")
        if (one.get("inserted") or {}).get("file") and not one["inserted"]["ro"]
    ]


def _device(one: dict[str, Any]) -> str:
    """What QEMU finds it by."""
    return str(one.get("device") or one["inserted"].get("node-name", ""))


def planned(monitor: Monitor, name: str) -> list[tuple[str, str]]:
    """The snapshots that `take` will make: (device, name). Raises HostError."""
    return [(_device(one), name) for one in _writable(monitor) if one["inserted"]["drv"] == "qcow2"]


def take(monitor: Monitor, name: str) -> list[Snapshot]:
    """Make a snapshot of each disk that can have one, of all or of none. Raises HostError."""
    wanted = [Snapshot(device, name) for device, name in planned(monitor, name)]
    actions = [
        {
            "type": "blockdev-snapshot-internal-sync",
            "data": {"device": one.device, "name": one.name},
        }
        for one in wanted
    ]
    if actions:
        monitor.ask("transaction", actions=actions)
    return wanted


def forget(monitor: Monitor, snapshots: list[Snapshot]) -> None:
    """Remove them again, as far as QEMU does so."""
    for one in snapshots:
        with contextlib.suppress(HostError):
            monitor.ask("blockdev-snapshot-delete-internal-sync", device=one.device, name=one.name)


def told(monitor: Monitor, snapshots: list[Snapshot]) -> list[Disk]:
    """All writable disks, as they are noted with a checkpoint. Raises HostError."""
    names = {one.device: one.name for one in snapshots}
    found = []
    for one in _writable(monitor):
        inserted, device = one["inserted"], _device(one)
        path = str(inserted["file"])
        changed = size = 0
        with contextlib.suppress(OSError):
            status = Path(path).stat()
            changed, size = status.st_mtime_ns, status.st_size
        snapshot = names.get(device, "")
        found.append(Disk(device, path, str(inserted["drv"]), snapshot, changed, size))
    return found
