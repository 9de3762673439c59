"""Who is at the other end of sockets: unix sockets by sock_diag, TCP and UDP by their addresses.

Run in a child of the service. Everything is about one network namespace, that of a process.
"""

from __future__ import annotations

import os
import socket
import struct

__all__ = ["NamespaceError", "inet", "unix"]

_SOCK_DIAG = 4
_BY_FAMILY = 20
_REQUEST_DUMP = 0x301
_DONE, _ERROR = 3, 2
_SHOW_NAME, _SHOW_PEER = 1, 4
_NAME, _PEER = 0, 2
_HEADER = struct.Struct("<IHHII")
_ASKED = struct.Struct("<BBHIIIII")
_TOLD = struct.Struct("<BBBBIII")
_CLONE_NEWNET = 0x40000000
_MAPPED = bytes(10) + b"\xff\xff"


class NamespaceError(Exception):
    """The kernel does not tell: no unix_diag, or the namespace cannot be entered."""


def _open(pid: int) -> socket.socket:
    """A netlink socket in the network namespace of a process."""
    with open(f"/proc/{pid}/ns/net", "rb") as there, open("/proc/self/ns/net", "rb") as here:
        same = os.path.sameopenfile(there.fileno(), here.fileno())
        if same:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(there.fileno(), _CLONE_NEWNET):
            raise NamespaceError
        try:
            return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG)
        finally:
            libc.setns(here.fileno(), _CLONE_NEWNET)


def unix(pid: int) -> dict[int, int]:
    """The peer of each connected unix socket of the namespace, by inode. Raises NamespaceError."""
    try:
        with _open(pid) as netlink:
            body = _ASKED.pack(
                socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_PEER, 0xFFFFFFFF, 0xFFFFFFFF
            )
            size = _HEADER.size + len(body)
            netlink.settimeout(10)
            netlink.send(_HEADER.pack(size, _BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
            found: dict[int, int] = {}
            while not _note(netlink.recv(1 << 18), found):
                pass
            return found
    except OSError:
        raise NamespaceError from None


def _note(data: bytes, found: dict[int, int]) -> bool:
    """Note the peers in a message; whether it was the last one."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, at)
        if kind == _DONE:
            return True
        if kind == _ERROR or length < _HEADER.size:
            raise NamespaceError
        inode = _TOLD.unpack_from(data, at + _HEADER.size)[4]
        where, end = at + _HEADER.size + _TOLD.size, at + length
        while where + 4 <= end:
            size, what = struct.unpack_from("<HH", data, where)
            if what == _PEER:
                found[inode] = struct.unpack_from("<I", data, where + 4)[0]
            where += max(4, size + 3 & ~3)
        at += length + 3 & ~3
    return False


class _Socket:
    __slots__ = ("inode", "local", "remote")

    def __init__(self, line: bytes) -> None:
        fields = line.split()
        self.local, self.remote = _address(fields[1]), _address(fields[2])
        self.inode = int(fields[9])


def _address(text: bytes) -> tuple[bytes, int]:
    """Address and port as /proc writes them: words of 32 bits in the machine's order."""
    address, _, port = text.partition(b":")
    raw = bytes.fromhex(address.decode())
    raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return raw.removeprefix(_MAPPED) if len(raw) == 16 else raw, int(port, 16)


def _table(pid: int, name: str) -> list[_Socket]:
    try:
        with open(f"/proc/{pid}/net/{name}", "rb") as file:
            next(file)
            return [found for found in map(_Socket, file) if found.inode]
    except (OSError, StopIteration):
        return []


def inet(pid: int) -> dict[int, tuple[list[int], str]]:
    """For each TCP or UDP socket of the namespace that has its other end in it too, by inode: the
    inodes there, and the pair of addresses in words."""
    found: dict[int, tuple[list[int], str]] = {}
    for name in ("tcp", "udp"):
        table = _table(pid, name) + _table(pid, f"{name}6")
        at: dict[tuple[tuple[bytes, int], tuple[bytes, int]], list[int]] = {}
        for each in table:
            at.setdefault((each.local, each.remote), []).append(each.inode)
        for each in table:
            if not each.remote[1]:
                continue
            ends = list(at.get((each.remote, each.local), ()))
            if name == "udp":
                ends += _unconnected(each, at)
            if ends:
                words = f"{name} {_words(each.local)} to {_words(each.remote)}"
                for one, others in ((each.inode, ends), *((end, [each.inode]) for end in ends)):
                    known, _ = found.setdefault(one, ([], words))
                    known += others
    return found


def _unconnected(
    sender: _Socket, at: dict[tuple[tuple[bytes, int], tuple[bytes, int]], list[int]]
) -> list[int]:
    """Who gets what a connected UDP socket sends to this machine itself."""
    address, port = sender.remote
    if not (address[:1] == b"\x7f" or address == bytes(15) + b"\1" or address == sender.local[0]):
        return []
    ends: list[int] = []
    for local in {(address, port), (bytes(4), port), (bytes(16), port)}:
        for nowhere in ((bytes(4), 0), (bytes(16), 0)):
            ends += at.get((local, nowhere), ())
    return ends


def _words(address: tuple[bytes, int]) -> str:
    raw, port = address
    family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
    text = socket.inet_ntop(family, raw)
    return f"[{text}]:{port}" if len(raw) == 16 else f"{text}:{port}"
