"""What kmod/sparc_abi.h defines, by the names it has there after sparc_, as Python mirrors it."""

from __future__ import annotations

import enum

from construct import Construct

from sparc import abi

__all__ = ["ENUMS", "STRUCTS"]

ENUMS: dict[str, type[enum.IntEnum]] = {
    "request": abi.Request,
    "state": abi.State,
    "reason": abi.Reason,
    "kind": abi.Kind,
    "display": abi.Display,
    "outcome": abi.Outcome,
    "event_type": abi.EventType,
}
STRUCTS: dict[str, Construct] = {
    "identity": abi.Identity,
    "status": abi.Status,
    "extent": abi.Extent,
    "process": abi.Process,
    "manifest": abi.Manifest,
    "mailbox": abi.Mailbox,
    "target": abi.Target,
    "list": abi.List,
    "park": abi.Park,
    "fail": abi.Fail,
    "collect": abi.Collect,
    "event": abi.Event,
}
