"""Asks the extension pack in a VM's process how things stand."""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from host_service import fields
from host_service.errors import HostError
from host_service.fields import Fields, Malformed
from host_service.reports import MAX_BYTES, POLICIES, Report, from_fields
from host_service.run_dir import BASE, usable_run_dir, vm_socket

__all__ = ["PackStatus", "ask", "peer_uid"]

_SECONDS = 5.0
_PEER = struct.Struct("3i")


@dataclass(frozen=True)
class PackStatus:
    """What it says. `reason` and `last` may quote a guest; `abi` is None without a module."""

    pack: str
    vm_uuid: str
    policy: str
    timeout_ms: int
    module: bool
    abi: int | None
    armed: bool
    members: int
    state: str
    reason: str
    last: Report | None


def ask(uuid: str, base: Path = BASE) -> PackStatus | None:
    """What the pack in that VM's process says; None where there is no such pack.

    Raises:
        HostError: somebody is there, but gives no answer that can be believed.
    """
    try:
        path = vm_socket(usable_run_dir(base=base), uuid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(_SECONDS)
            link.connect(str(path))
            if peer_uid(link) not in (0, os.geteuid()):
                raise HostError(f"{path} belongs to somebody else")
            status = _parse(_everything(link))
    except (FileNotFoundError, ConnectionRefusedError):
        # A process that was killed leaves its socket behind.
        return None
    except (OSError, Malformed) as error:
        cause = f"the extension pack in the VM's process gives no answer: {error}"
        raise HostError(cause, advice="VBox.log of the VM may say more") from None
    if status.vm_uuid != uuid:
        raise HostError("the extension pack answers for another VM")
    return status


def peer_uid(link: socket.socket) -> int:
    """Whose process is at the other end of a unix socket."""
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(credentials)[1])


def _everything(link: socket.socket) -> bytes:
    deadline = time.monotonic() + _SECONDS
    found = bytearray()
    while part := link.recv(65536):
        found += part
        if len(found) > 2 * MAX_BYTES:
            raise Malformed("it is too long")
        link.settimeout(max(deadline - time.monotonic(), 0.001))
    return bytes(found)


def _parse(data: bytes) -> PackStatus:
    f = Fields(fields.load(data))
    if f.number("version") != 1:
        raise Malformed("it is of another version than this program")
    last = f.optional_inner("last")
    return PackStatus(
        pack=f.text("pack", 64),
        vm_uuid=f.inner("vm").text("uuid", 36),
        policy=f.one_of("policy", POLICIES),
        timeout_ms=f.number("timeout_ms"),
        module=f.flag("module"),
        abi=f.optional_number("abi"),
        armed=f.flag("armed"),
        members=f.number("members"),
        state=f.text("state", 32),
        reason=f.text("reason", 32),
        last=None if last is None else from_fields(last),
    )
