"""What a saved state is, without its content."""

from __future__ import annotations

import os
from typing import Any

from sparc.sav.walk import Walk

__all__ = ["describe"]


def describe(walk: Walk) -> dict[str, Any]:
    """The stable schema of `sparc sav info --json`, from a walk that has run.

    {"file", "size": bytes, "virtualbox": "7.2.22", "revision", "live": bool,
    "stream_checksum": bool, "checksums": "good" | "bad" | "not all checked",
    "memory": {"ram", "hole": bytes, "cpus", "ballooned": pages, "ranges": [{"kind": "rom" |
    "mmio2", "id", "device", "description", "address": GPA or null, "size"}]} or null,
    "pages": {kind: records, every pass counted}, "units": [{"name", "instance", "version",
    "pass": number or "final", "offset", "stored": bytes in the file, "content": bytes}],
    "problems": [{"type", "offset"}]}; the command line adds "message" to each problem.
    """
    header, memory = walk.header, walk.memory
    assert header is not None
    wrong = any(getattr(p, "checksum", False) for p in walk.problems)
    data: dict[str, Any] = {
        "file": os.fspath(walk.stream.path),
        "size": walk.stream.size,
        "virtualbox": header.version,
        "revision": header.revision,
        "live": header.live,
        "stream_checksum": header.stream_crc,
        "checksums": "bad" if wrong else "good" if walk.complete else "not all checked",
        "memory": None,
        "pages": {},
        "units": [
            {
                "name": u.name,
                "instance": u.instance,
                "version": u.version,
                "pass": "final" if u.final else u.pass_,
                "offset": u.offset,
                "stored": u.stored,
                "content": u.content,
            }
            for u in walk.units
        ],
        "problems": [{"type": type(p).__name__, "offset": p.offset} for p in walk.problems],
    }
    if memory is not None:
        ranges = [("rom", r) for r in memory.roms.values()]
        ranges += [("mmio2", r) for r in memory.mmio2.values()]
        data["pages"] = memory.index.counts()
        data["memory"] = {
            "ram": memory.size,
            "hole": memory.hole,
            "cpus": memory.cpus,
            "ballooned": memory.ballooned,
            "ranges": [
                {
                    "kind": kind,
                    "id": r.id,
                    "device": r.device,
                    "description": r.description,
                    "address": r.address,
                    "size": r.size,
                }
                for kind, r in ranges
            ],
        }
    return data
