"""What commands print of a checkpoint that was made up: the pages of docs/ show it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host.reporting import UUID, good_report

from host_service.checkpoint import Checkpoint
from host_service.kept_out import verdict_line
from host_service.reports import parse
from host_service.verdict import Verdict
from host_service.virtualbox import Snapshot
from sparc.audit.report import Finding, Report
from sparc.audit.secrets import Secret
from sparc.cli import audit_text, checkpoint, guest, status

__all__ = ["REPORT", "outputs"]

_STATE = Path("/home/alice/VirtualBox VMs/desk/Snapshots/2026-11-22T20-31-07-000000000Z.sav")
REPORT: dict[str, Any] = good_report(
    vm={"name": "desk", "uuid": UUID},
    state_file=str(_STATE),
    message="The excluded programs were kept out.",
    excluded=[{"pid": 812, "name": "gpg-agent"}],
    kinds={
        "anon": {"pages": 312, "bytes": 0},
        "file": {"pages": 21, "bytes": 0},
        "free": {"pages": 182_144, "bytes": 0},
        "registers": {"pages": 0, "bytes": 5728},
        "socket": {"pages": 0, "bytes": 640},
    },
    pages={"drop": 182_144, "stash": 334},
    extents=9,
    stash_bytes=1_372_000,
    display="keep",
    display_bytes=0,
    device_values=9,
    steps_us={
        "prepare": 214_000,
        "suspend": 900,
        "stash": 1200,
        "zero": 95_000,
        "write": 1_870_000,
        "put_back": 2100,
    },
)


def outputs() -> dict[str, str]:
    """By command."""
    verdict = Verdict(True, REPORT["message"], parse(json.dumps(REPORT).encode()))
    taken = datetime(2026, 11, 22, 20, 31, 7, tzinfo=UTC)
    done = Checkpoint("desk", UUID, Snapshot("5-6", "first", taken, _STATE), verdict, False)
    entry = {"pid": 812, "name": "gpg-agent", "processes": 1}
    last = {"time": 0.0, "killed": [{"pid": 812, "name": "gpg-agent"}]}
    secrets = [Secret(1, "standard input", 1, b"correct horse")]
    found = Finding(1, "utf-8", "ram", "", 0x1F3A0C40, 0x52C3E1)
    return {
        "exclude": guest._told("exclude", entry),
        "checkpoint": checkpoint._text(done),
        "list": verdict_line(verdict),
        "restored": status._restore(last).partition(": ")[2],
        "audit": audit_text.text(Report("x", secrets, [], [])),
        "residue": audit_text.text(Report("x", secrets, [found], [])),
    }
