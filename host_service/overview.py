"""The view of a host: its VMs as they stand, and their checkpoints."""

from __future__ import annotations

from datetime import UTC, datetime

from host_service.errors import HostError
from host_service.kept_out import verdict_text
from host_service.known import Listed, Listing, Standing, Vm
from host_service.qemu.store import read_policy
from host_service.snapshots import data_of, listings
from host_service.status import policy_of, standing_data, standing_of
from host_service.virtualbox.machine import State
from sparc.frame import Frame, Table
from sparc.printable import size

__all__ = ["overview"]

_VMS = ("VM", "STATE", "PACK", "MODULE", "EXCLUDED", "POLICY", "CHECKPOINTS", "NOT CLEAN")
_CHECKPOINTS = ("VM", "CHECKPOINT", "TAKEN", "SIZE", "VERDICT")
_UNKNOWN = datetime.fromtimestamp(0, UTC)


def overview(vm: str | None) -> Frame:
    """That of a VM, or of all of this user's, as it is now.

    Raises:
        HostError: no such VM, or VirtualBox does not answer.
    """
    found = [(listing, _standing(listing)) for listing in listings(vm)]
    data: dict[str, object] = {
        "side": "host",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "vms": [_data(listing, now) for listing, now in found],
    }
    if not found:
        return Frame(["VirtualBox knows no VM of this user"], [], data)
    vms = Table("VMs", _VMS, [_vm(*pair) for pair in found], frozenset({4, 6, 7}))
    taken = [(listing, entry) for listing, _ in found for entry in listing.found]
    taken.sort(key=lambda pair: pair[1].taken or _UNKNOWN, reverse=True)
    rows = [_checkpoint(*pair) for pair in taken]
    checkpoints = Table("Checkpoints, the newest first", _CHECKPOINTS, rows, frozenset({3}), 4)
    problems = [
        f"{now.machine.name}: {problem}"
        for listing, now in found
        for problem in dict.fromkeys((listing.problem, now.problem))
        if problem
    ]
    return Frame([], [vms, checkpoints] if rows else [vms], data, problems)


def _standing(listing: Listing) -> Standing:
    if isinstance(listing.machine, Vm):
        policy = read_policy(listing.machine.name).mode
        return Standing(listing.machine, listing.state, None, "", policy, None)
    try:
        return standing_of(listing.machine)
    except HostError as error:
        return Standing(listing.machine, listing.state, None, error.cause, "", None)


def _data(listing: Listing, now: Standing) -> dict[str, object]:
    told = {**data_of(listing), **standing_data(now)}
    del told["last"]
    return {**told, "problem": now.problem or listing.problem or None}


def _vm(listing: Listing, now: Standing) -> tuple[str, ...]:
    pack, gone = now.pack, now.state is State.INACCESSIBLE
    saved = [entry for entry in listing.found if entry.state_file is not None]
    return (
        now.machine.name,
        now.state.value,
        f"{pack.pack}, {pack.state}" if pack else "-",
        ("yes" if pack.module else "no") if pack else "-",
        str(pack.members) if pack else "-",
        "-" if gone else policy_of(now),
        str(len(listing.found)),
        str(sum(not entry.verdict.clean for entry in saved)),
    )


def _checkpoint(listing: Listing, entry: Listed) -> tuple[str, ...]:
    when = entry.taken.astimezone().strftime("%Y-%m-%d %H:%M:%S") if entry.taken else ""
    bytes_ = size(entry.bytes) if entry.bytes is not None else ""
    name = (entry.name or "saved state") + (" *" if entry.current else "")
    return listing.machine.name, name, when, bytes_, verdict_text(entry.state_file, entry.verdict)
