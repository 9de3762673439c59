"""VirtualBox as this project uses it: all that is asked of it goes through here.

`connection`: the SDK. `machine`: VMs and their snapshots, read only. `operation`: a lock on a VM,
and something that takes its time. `actions`: what changes a VM.
"""

from host_service.virtualbox.actions import (
    describe,
    power_off,
    restore_snapshot,
    set_extra,
    start,
    take_snapshot,
)
from host_service.virtualbox.connection import VirtualBoxError, translated
from host_service.virtualbox.machine import Machine, Snapshot, find, machines, saved_state

__all__ = [
    "Machine",
    "Snapshot",
    "VirtualBoxError",
    "describe",
    "find",
    "machines",
    "power_off",
    "restore_snapshot",
    "saved_state",
    "set_extra",
    "start",
    "take_snapshot",
    "translated",
]
