"""Pairs of processes that share one thing each, for the guest: their pids as JSON, and they stay.

The first of each pair has what the second has, or the other end of it.
"""

import contextlib
import ctypes
import json
import mmap
import os
import pty
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

Side = Callable[[], object]
Pair = tuple[Side, Side]

FOLDER = tempfile.mkdtemp(dir="/root")
# Kept as long as the process.
areas: list[mmap.mmap] = []
SHM_NAME = f"/dev/shm/pairs{os.getpid()}"


def clear(*kept: int) -> int:
    """Close all descriptors but these; how many are left."""
    os.closerange(0, min(kept, default=3))
    for fd in range(min(kept, default=3), 1024):
        if fd not in kept:
            with contextlib.suppress(OSError):
                os.close(fd)
    return len(kept)


def pipe() -> Pair:
    source, sink = os.pipe()
    return lambda: clear(sink), lambda: clear(source)


def fifo() -> Pair:
    path = f"{FOLDER}/fifo"
    os.mkfifo(path)
    return lambda: (clear(), os.open(path, os.O_RDWR)), lambda: (clear(), os.open(path, os.O_RDWR))


def stream() -> Pair:
    one, two = socket.socketpair()
    return lambda: clear(one.fileno()), lambda: clear(two.fileno())


def named() -> Pair:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(f"{FOLDER}/named")
    server.listen()
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(f"{FOLDER}/named")
    accepted, _ = server.accept()
    return lambda: clear(client.fileno()), lambda: clear(accepted.fileno())


def datagram() -> Pair:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(f"{FOLDER}/datagram")
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.connect(f"{FOLDER}/datagram")
    return lambda: clear(server.fileno()), lambda: clear(client.fileno())


def tcp() -> Pair:
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    return lambda: clear(client.fileno()), lambda: clear(accepted.fileno())


def mapped_tcp() -> Pair:
    server = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    client = socket.create_connection(("127.0.0.1", server.getsockname()[1]))
    accepted, _ = server.accept()
    return lambda: clear(client.fileno()), lambda: clear(accepted.fileno())


def udp() -> Pair:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", 0))
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(("127.0.0.1", server.getsockname()[1]))
    return lambda: clear(client.fileno()), lambda: clear(server.fileno())


def terminal() -> Pair:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    return lambda: (clear(), os.open(name, os.O_RDWR)), lambda: clear(master)


def memfd() -> Pair:
    fd = os.memfd_create("pairs")
    return lambda: clear(fd), lambda: clear(fd)


def anonymous() -> Pair:
    mmap.mmap(-1, 4096).close()
    area = mmap.mmap(-1, 4096)
    return lambda: (clear(), area.write(b"x")), lambda: (clear(), area.read(1))


def posix() -> Pair:
    def both() -> None:
        clear()
        fd = os.open(SHM_NAME, os.O_RDWR | os.O_CREAT)
        os.truncate(fd, 4096)
        area = mmap.mmap(fd, 4096)
        os.close(fd)
        areas.append(area)

    return both, both


def sysv() -> Pair:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    number = libc.shmget(0, 4096, 0o1600)

    def both() -> None:
        clear()
        libc.shmat(number, None, 0)

    return both, both


def written() -> Pair:
    path = f"{FOLDER}/written"
    return (
        lambda: (clear(), os.open(path, os.O_WRONLY | os.O_CREAT)),
        lambda: (clear(), os.open(path, os.O_RDONLY | os.O_CREAT)),
    )


def mapped() -> Pair:
    path = f"{FOLDER}/mapped"
    Path(path).write_bytes(bytes(4096))

    def maps() -> None:
        clear()
        fd = os.open(path, os.O_RDWR)
        areas.append(mmap.mmap(fd, 4096))
        os.close(fd)

    return maps, lambda: (clear(), os.open(path, os.O_RDONLY))


def read() -> Pair:
    path = f"{FOLDER}/read"
    Path(path).touch()
    return lambda: (clear(), os.open(path, 0)), lambda: (clear(), os.open(path, 0))


def start(side: Side) -> int:
    """A process that is nobody's child, in a session of its own; its pid."""
    source, sink = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            side()
            while True:
                time.sleep(1000)
        os.write(sink, b"%d" % pid)
        os._exit(0)
    os.wait()
    pid = int(os.read(source, 20))
    os.close(source)
    os.close(sink)
    return pid


def main() -> None:
    found = {}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for kind in sys.argv[1].split(","):
        one, two = globals()[kind]()
        found[kind] = [start(one), start(two)]
    time.sleep(1)
    print(json.dumps(found))


main()
