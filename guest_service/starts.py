"""Learning at once of processes that start a program or change their user.

By the kernel's process connector, a netlink socket; the kernel needs CONFIG_PROC_EVENTS, and the
service CAP_NET_ADMIN. Where that cannot be had, the caller looks through /proc now and then.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct

__all__ = ["Starts"]

# From the kernel's headers: linux/netlink.h, linux/connector.h, linux/cn_proc.h.
_NETLINK_CONNECTOR = 11
_CN_IDX_PROC = _CN_VAL_PROC = 1
_LISTEN = 1
_EXEC, _UID = 0x2, 0x4
_SO_ATTACH_FILTER = 26
# Beyond what the system allows others, which is room for a few hundred.
_SO_RCVBUFFORCE = 33
_NLMSG_DONE = 3

_HEADER = struct.Struct("=IHHII")
_MESSAGE = struct.Struct("=IIIIHH")
# What happened; the event's own fields begin with a thread's number and its process's.
_EVENT = struct.Struct("=IIQii")
_EVENT_AT = _HEADER.size + _MESSAGE.size

_BUFFER = 1 << 20
_AT_ONCE = 4096


class Starts:
    """Open and listening. `lost` is set when some were missed; who sees it, clears it."""

    def __init__(self) -> None:
        """Raises OSError: the kernel or its rules do not allow it."""
        self.lost = False
        self._socket = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
            _NETLINK_CONNECTOR,
        )
        try:
            self._filter()
            # More than any burst, if we may.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            self._socket.bind((0, _CN_IDX_PROC))
            self._listen()
        except OSError:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def pids(self) -> list[int]:
        """The processes that were heard of since, each once, in order."""
        found: dict[int, None] = {}
        for _ in range(_AT_ONCE):
            try:
                data, sender = self._socket.recvfrom(512)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost = True
                continue
            # Any process may send to a netlink socket, but only the kernel as number 0.
            if sender[0] != 0 or len(data) < _EVENT_AT + _EVENT.size:
                continue
            what, _, _, _, pid = _EVENT.unpack_from(data, _EVENT_AT)
            if what in (_EXEC, _UID):
                found[pid] = None
        else:
            self.lost = True
        return list(found)

    def _filter(self) -> None:
        """Forks and exits, which are most of what happens, are not to wake anybody."""
        load, equal, give = 0x20, 0x15, 0x06
        swapped = [socket.htonl(what) for what in (_EXEC, _UID)]
        # Anything that is no event is told as well: the reply to the request, say.
        program = array.array("B")
        for code, if_true, if_false, value in (
            (load, 0, 0, _EVENT_AT),
            (equal, 1, 0, swapped[0]),
            (equal, 0, 1, swapped[1]),
            (give, 0, 0, 0xFFFFFFFF),
            (give, 0, 0, 0),
        ):
            program.frombytes(struct.pack("=HBBI", code, if_true, if_false, value))
        address, length = program.buffer_info()
        told = struct.pack("HP", length // 8, address)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, told)

    def _listen(self) -> None:
        body = _MESSAGE.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0) + struct.pack("=I", _LISTEN)
        header = _HEADER.pack(_HEADER.size + len(body), _NLMSG_DONE, 0, 0, os.getpid())
        self._socket.send(header + body)
