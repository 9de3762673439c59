"""What is known of VMs and their checkpoints, whatever hypervisor they are of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from host_service.verdict import Verdict
from host_service.virtualbox import Machine
from host_service.virtualbox.machine import State
from host_service.vm_socket import PackStatus

__all__ = ["Checkpoint", "Listed", "Listing", "Standing", "Vm"]


@dataclass(frozen=True)
class Listed:
    """A snapshot, or with the `uuid` "" what a saved VM goes on from, if that is no snapshot's.

    `depth` counts how many were made before it in its branch; `bytes` is the saved state's size.
    """

    uuid: str
    name: str
    parent: str
    depth: int
    current: bool
    taken: datetime | None
    state_file: Path | None
    bytes: int | None
    verdict: Verdict


@dataclass(frozen=True)
class Vm:
    """A VM that is not VirtualBox's."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Listing:
    """All of a VM, each after the one it was made from, branches in the order they were made.

    `problem` says why VirtualBox tells nothing of them, or is "".
    """

    machine: Machine | Vm
    state: State
    found: list[Listed]
    problem: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """The newest saved state of a VM: of the snapshot of that name, or its own."""

    name: str
    verdict: Verdict


@dataclass(frozen=True)
class Standing:
    """A VM; `problem` says why its pack gives no answer, or is "". `last` only where asked for."""

    machine: Machine | Vm
    state: State
    pack: PackStatus | None
    problem: str
    policy: str
    last: Checkpoint | None
