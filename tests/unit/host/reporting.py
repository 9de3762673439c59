"""What a pack says, as the contract has it, for tests to bend."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parked import parked
from samples import write_state

from host_service.verdict import beside
from sparc import abi
from sparc.wire import named

UUID = "d1464a88-b56b-42fd-83eb-a797f2187d06"

_PAGES = 256

__all__ = ["UUID", "good_report", "good_status", "head_of", "put_beside", "written"]


def good_report(**other: Any) -> dict[str, Any]:
    """A report on a clean checkpoint, with these members replaced."""
    return {
        "version": 1,
        "time": "2026-11-22T20:31:07Z",
        "vm": {"name": "victim", "uuid": UUID},
        "state_file": "/vm/Snapshots/one.sav",
        "live": False,
        "policy": "strict",
        "saved": True,
        "clean": True,
        "reason": "ok",
        "guest_reason": "none",
        "guest_pid": 0,
        "guest_name": "",
        "message": "nothing of the excluded programs is in it",
        "excluded": [{"pid": 812, "name": "gpg-agent"}, {"pid": 901, "name": "bash"}],
        "kinds": {"anon": {"pages": 512, "bytes": 0}, "registers": {"pages": 0, "bytes": 2864}},
        "pages": {"drop": 20000, "stash": 512},
        "extents": 2,
        "stash_bytes": 2100016,
        "stash_locked": True,
        "display": "text",
        "display_bytes": 131072,
        "device_values": 12,
        "spins": None,
        "steps_us": {"prepare": 12000, "suspend": 300, "write": 240000},
        **other,
    }


def good_status(**other: Any) -> dict[str, Any]:
    """A pack's answer in a VM whose guest has excluded something."""
    return {
        "version": 1,
        "pack": "0.1.0",
        "vm": {"name": "victim", "uuid": UUID},
        "policy": "strict",
        "timeout_ms": 5000,
        "module": True,
        "abi": 1,
        "armed": True,
        "members": 2,
        "state": "idle",
        "reason": "none",
        "last": None,
        **other,
    }


def head_of(report: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the manifest that a report like this is made from."""
    kinds = [report["kinds"].get(named(abi.Kind, k), {}) for k in abi.Kind]
    rest = [0] * (abi.KINDS - len(kinds))
    return {
        "drop_pages": report["pages"]["drop"],
        "stash_pages": report["pages"]["stash"],
        "extents": report["extents"],
        "processes": len(report["excluded"]),
        "display": abi.Display[report["display"].upper()],
        "kind_pages": [kind.get("pages", 0) for kind in kinds] + rest,
        "kind_bytes": [kind.get("bytes", 0) for kind in kinds] + rest,
    }


def put_beside(state: Path, **other: Any) -> None:
    """A report beside a saved state that is about this file, but for these members."""
    report = good_report(**{"state_file": str(state), **other})
    file = beside(state)
    file.write_text(json.dumps(report))
    file.chmod(0o600)
    # As if it had been saved then, whatever the clock says.
    when = datetime.strptime(good_report()["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    os.utime(state, (when.timestamp(), when.timestamp()))


def written(folder: Path, **other: Any) -> Path:
    """A saved state with a report beside it that fits, but for these members; the .sav's path."""
    report = good_report(**other)
    armed = report["reason"] != "nothing-excluded"
    pages = parked(_PAGES, head=head_of(report), armed=armed)
    state = write_state(folder / "one.sav", pages)
    put_beside(state, **other)
    return state
