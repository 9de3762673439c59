"""What a pack says, as the contract has it, for tests to bend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

UUID = "d1464a88-b56b-42fd-83eb-a797f2187d06"

__all__ = ["UUID", "good_report", "good_status", "written"]


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


def written(folder: Path, **other: Any) -> Path:
    """A saved state with a report beside it that fits, but for these members; the .sav's path."""
    state = folder / "one.sav"
    state.write_bytes(b"saved")
    report = folder / "one.sparc.json"
    report.write_text(json.dumps(good_report(**{"state_file": str(state), **other})))
    report.chmod(0o600)
    return state
