"""Asking the service."""

from __future__ import annotations

import os
import socket
import struct

from guest_service.protocol import MAX_REQUEST, SOCKET, BadRequest, decode, encode
from sparc.errors import GuestError
from sparc.wire import DEVICE

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Sequence

__all__ = ["ask", "here"]

# Not while a checkpoint is taken, and then only in its turn; so it may take a while.
_SECONDS = 120
_MOST = 1 << 24


def here() -> bool:
    """Whether this is a guest: its module or its service are there."""
    return os.path.exists(SOCKET) or os.path.exists(DEVICE)


def ask(
    request: dict[str, object], path: str = SOCKET, files: Sequence[int] = ()
) -> dict[str, object]:
    """The service's reply; `files` are descriptors that go with the request. Raises GuestError."""
    line = encode(request)
    if len(line) > MAX_REQUEST:
        raise GuestError("too-long")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            # Connecting too may have to wait, for others to be served.
            limit = struct.pack("ll", _SECONDS, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connection.connect(path)
            connection.settimeout(_SECONDS)
            if files:
                line = line[socket.send_fds(connection, [line], files) :]
            # The reply may be there by now, and the service gone.
            if line:
                connection.sendall(line)
            reply = _receive(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        raise GuestError("no-service" if os.path.exists(DEVICE) else "no-module") from None
    except PermissionError:
        raise GuestError("denied") from None
    except (TimeoutError, BlockingIOError):
        raise GuestError("silent") from None
    except (OSError, BadRequest) as error:
        raise GuestError("connection", cause=str(getattr(error, "strerror", ""))) from None
    if "error" in reply:
        fields = {name: value for name, value in reply.items() if name != "error"}
        raise GuestError(str(reply["error"]), **fields)
    return reply


def _receive(connection: socket.socket) -> dict[str, object]:
    data = bytearray()
    while not data.endswith(b"\n"):
        part = connection.recv(1 << 16)
        if not part or len(data) > _MOST:
            raise BadRequest("cut short")
        data += part
    return decode(bytes(data))
