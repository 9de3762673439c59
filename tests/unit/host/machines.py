"""VMs that are none, with their snapshots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from host.reporting import UUID

from host_service.virtualbox import Snapshot
from host_service.virtualbox.machine import State

__all__ = ["FakeMachine", "snapshot"]

TAKEN = datetime(2026, 11, 22, 20, 31, 7, tzinfo=UTC)


class FakeMachine:
    """A VM as far as lists of VMs and snapshots ask for it."""

    name, uuid, policy = "victim", UUID, ""

    def __init__(self, *taken: Snapshot, current: str = "", own: Path | None = None) -> None:
        self.taken, self.current_snapshot, self.state_file = list(taken), current, own
        self.state: State = State.RUNNING

    def snapshots(self) -> list[Snapshot]:
        return self.taken

    def extra(self, key: str) -> str:
        assert key == "SPARC/Policy"
        return self.policy


def snapshot(
    uuid: str, parent: str = "", minutes: int = 0, state: Path | None = None, name: str = ""
) -> Snapshot:
    return Snapshot(uuid, name or f"snap {uuid}", TAKEN + timedelta(minutes=minutes), state, parent)
