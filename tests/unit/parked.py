"""The memory of a guest that was parked for its checkpoint, made to order."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from sparc import abi

__all__ = ["parked"]

PAGE = abi.PAGE_SIZE
_MAILBOX, _DIRECTORY, _RUN = 16, 17, 18


def parked(
    pages: int,
    drop: Iterable[int] = (),
    stash: Iterable[int] = (),
    extents: Iterable[tuple[int, int, int]] = (),
    *,
    canary: int = 40,
    canary_left: bool = False,
    state: int = abi.State.PARKED,
    version: int = abi.VERSION,
    armed: int = 1,
    head: dict[str, Any] | None = None,
    run_flip: int | None = None,
    directory: int = _DIRECTORY * PAGE,
) -> dict[int, bytes]:
    """Pages by number that hold a mailbox with a manifest; `head` replaces members of it."""
    size = abi.bitmap_bytes(pages)
    listed = list(extents)
    run = bytearray(_bits(drop, size) + _bits([*stash, canary], size))
    run += b"".join(struct.pack("<QII", *extent) for extent in listed)
    run += bytes(-len(run) % PAGE)
    run += abi.Process.build({"pid": 812, "flags": 0, "comm": b"gpg-agent".ljust(16, b"\0")})
    members = {
        "sequence": 3,
        "run_crc": zlib.crc32(run),
        "run_bytes": len(run),
        "ram_pages": pages,
        "drop_pages": len(set(drop)),
        "stash_pages": len(set(stash)) + 1,
        "canary_gpa": canary * PAGE,
        "extents": len(listed),
        "processes": 1,
        "display": 0,
        "directories": 1,
        "kind_pages": [0] * abi.KINDS,
        "kind_bytes": [0] * abi.KINDS,
        "reserved2": 0,
        "crc": 0,
        **(head or {}),
    }
    entries = [directory] + [0] * (abi.DIRECTORIES - 1)
    used = np.array(entries[: members["directories"]], "<u8").tobytes()
    members["crc"] = zlib.crc32(used, zlib.crc32(abi.Manifest.build(members)[:-4]))
    if run_flip is not None:
        run[run_flip] ^= 1
    run += bytes(-len(run) % PAGE)
    count = len(run) // PAGE
    table = np.arange(_RUN, _RUN + count, dtype="<u8") * PAGE
    made = {
        _MAILBOX: _mailbox(members, entries, state, version, armed),
        _DIRECTORY: table.tobytes().ljust(PAGE, b"\0"),
    }
    made |= {_RUN + i: bytes(run[i * PAGE : (i + 1) * PAGE]) for i in range(count)}
    if canary_left:
        made[canary] = b"canary".ljust(PAGE, b"!")
    return made


def _bits(pages: Iterable[int], size: int) -> bytes:
    bits = np.zeros(size * 8, np.uint8)
    bits[list(pages)] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _mailbox(
    members: dict[str, Any], directory: list[int], state: int, version: int, armed: int
) -> bytes:
    identity = {
        "magic": abi.MAGIC,
        "abi": version,
        "size": PAGE,
        "gpa": _MAILBOX * PAGE,
        "instance": 7,
        "reserved": 0,
        "crc": 0,
    }
    identity["crc"] = zlib.crc32(abi.Identity.build(identity)[:-4])
    status = {
        "word": abi.word(3, state),
        "reason": 0,
        "reason_pid": 0,
        "reason_comm": bytes(16),
        "armed": armed,
        "members": armed,
        "heartbeat": 5,
    }
    built: bytes = abi.Mailbox.build(
        {
            "identity": identity,
            "status": status,
            "request": abi.word(3, abi.Request.PREPARE),
            "manifest": members,
            "directory": directory,
        }
    )
    return built
