"""The socket for clients: nobody can make the service wait, or use up its memory."""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import select
import socket
import struct
import time

from guest_service.changes import Caller
from guest_service.protocol import MAX_REQUEST, BadRequest, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Callable

    _Answer = Callable[[dict[str, object], Caller], dict[str, object]]

__all__ = ["GROUP", "Server"]

GROUP = "sparc"
_CLIENTS = 32
# Descriptors that may come with a request; together, fewer than a process may have open.
_FILES = 16
# A client has so long for its request, and again for taking the reply. In a guest that is
# interpreted, even a prompt one takes seconds.
_SECONDS = 20.0


class _Client:
    """A connection: first its request comes in, then the reply goes out."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.files: list[int] = []
        self.received = b""
        self.reply = b""
        self.deadline = 0.0
        self.renew()

    def renew(self) -> None:
        self.deadline = time.monotonic() + _SECONDS

    def receive(self) -> bytes:
        """What can be read now. Raises OSError."""
        data, files, flags, _ = socket.recv_fds(
            self.socket, MAX_REQUEST, _FILES, socket.MSG_CMSG_CLOEXEC
        )
        self.files += files
        if len(self.files) > _FILES or flags & socket.MSG_CTRUNC:
            raise OSError(errno.EMFILE, "")
        return data

    def close_files(self) -> None:
        for fd in self.files:
            os.close(fd)
        self.files.clear()


class Server:
    """Listens at `path` and answers. The caller polls, and says what is ready."""

    def __init__(self, path: str, answer: _Answer, poll: select.poll) -> None:
        """Raises OSError. A socket that an earlier instance left is replaced."""
        self._path = path
        self._answer = answer
        self._poll = poll
        self._clients: dict[int, _Client] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(before)
        with contextlib.suppress(KeyError):
            os.chown(path, 0, grp.getgrnam(GROUP).gr_gid)
            os.chmod(path, 0o660)
        self._socket.listen(_CLIENTS)
        poll.register(self._socket.fileno(), select.POLLIN)

    def close(self) -> None:
        """Leave no socket behind."""
        for client in list(self._clients.values()):
            self._drop(client)
        self._poll.unregister(self._socket.fileno())
        self._socket.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def timeout(self) -> float | None:
        """Milliseconds until `expire` has something to do; None: never."""
        if not self._clients:
            return None
        first = min(client.deadline for client in self._clients.values())
        return max(0.0, first - time.monotonic()) * 1000 + 1

    def expire(self) -> None:
        """Drop those who took too long."""
        now = time.monotonic()
        for client in [c for c in self._clients.values() if c.deadline <= now]:
            self._drop(client)

    def pause(self, seconds: float) -> None:
        """Nobody could be served for so long: it is not taken from their time."""
        for client in self._clients.values():
            client.deadline += seconds

    def ready(self, fd: int) -> None:
        """Something can be done with a polled descriptor of this server."""
        if fd == self._socket.fileno():
            self._accept()
            return
        client = self._clients.get(fd)
        if client is None:
            return
        try:
            if client.reply:
                self._send(client)
            else:
                self._receive(client)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:  # it has gone again, or there are no descriptors: later
            return
        connection.setblocking(False)
        if len(self._clients) >= _CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.deadline))
        self._clients[connection.fileno()] = _Client(connection)
        self._poll.register(connection.fileno(), select.POLLIN)

    def _receive(self, client: _Client) -> None:
        data = client.receive()
        if not data:
            self._drop(client)
            return
        client.received += data
        line, end, _ = client.received.partition(b"\n")
        if len(line) >= MAX_REQUEST:
            reply: dict[str, object] = {"error": "too-long"}
        elif not end:
            return
        else:
            started = time.monotonic()
            reply = self._reply(line, client)
            client.close_files()
            self.pause(time.monotonic() - started)
        client.received = b""
        client.reply = encode(reply)
        client.renew()
        self._poll.modify(client.socket.fileno(), select.POLLOUT)
        self._send(client)

    def _reply(self, line: bytes, client: _Client) -> dict[str, object]:
        size = struct.calcsize("3i")
        told = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        pid, uid, _ = struct.unpack("3i", told)
        try:
            return self._answer(decode(line), Caller(pid, uid, tuple(client.files)))
        except BadRequest as error:
            return {"error": "bad-request", "why": error.why}

    def _send(self, client: _Client) -> None:
        client.reply = client.reply[client.socket.send(client.reply) :]
        if not client.reply:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.socket.fileno()
        del self._clients[fd]
        self._poll.unregister(fd)
        client.close_files()
        client.socket.close()
