"""`sparc-hostd` over a real socket, and its journal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from host.reporting import good_report

from host_service.journal import append, journal_file
from host_service.reports import MAX_BYTES, parse

_RUN = """
import asyncio, logging, sys
from pathlib import Path
from host_service.daemon import serve
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
"""


class Daemon:
    """One that runs in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "hostd.sock"
        self.journal = folder / "state" / "journal.jsonl"
        self.log = folder / "log"
        argv = [sys.executable, "-c", _RUN, str(self.socket), str(self.journal)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, stderr=log)
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(20)
        link.connect(str(self.socket))
        return link

    def send(self, data: bytes) -> None:
        """Send that, and wait until it is dealt with."""
        with self.connect() as link, contextlib.suppress(ConnectionError):
            link.sendall(data)
            link.recv(1)

    def lines(self) -> list[dict[str, object]]:
        if not self.journal.exists():
            return []
        return [json.loads(line) for line in self.journal.read_text().splitlines()]


def wait_until(done: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    assert callable(done)
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="sparc") as folder:
        running = Daemon(Path(folder))
        yield running
        running.process.terminate()
        running.process.wait(timeout=10)


def line(**other: object) -> bytes:
    return json.dumps(good_report(**other)).encode() + b"\n"


def test_a_report_is_kept(daemon: Daemon) -> None:
    daemon.send(line())
    daemon.send(line(clean=False, reason="timeout", message="the guest did not answer"))
    first, second = daemon.lines()
    assert first.pop("received") and first == good_report()
    assert second["clean"] is False
    assert daemon.journal.stat().st_mode & 0o777 == 0o600
    assert daemon.journal.parent.stat().st_mode & 0o777 == 0o700
    assert daemon.socket.stat().st_mode & 0o777 == 0o600
    said = daemon.log.read_text().splitlines()[-2:]
    assert "victim: clean" in said[0] and "NOT CLEAN: the guest did not answer" in said[1]


def test_what_is_no_report_is_dropped(daemon: Daemon) -> None:
    for data in (b"\n", b"{}\n", line(clean=1), b"\xff\n", line()[:-1], b"x" * (2 * MAX_BYTES)):
        daemon.send(data) if data.endswith(b"\n") else _half(daemon, data)
    assert daemon.lines() == []
    daemon.send(line())
    assert len(daemon.lines()) == 1


def _half(daemon: Daemon, data: bytes) -> None:
    with daemon.connect() as link, contextlib.suppress(OSError):
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        link.recv(1)


def test_a_slow_client_is_dropped_and_holds_up_nobody(daemon: Daemon) -> None:
    with daemon.connect() as slow:
        slow.sendall(b"{")
        daemon.send(line())
        assert len(daemon.lines()) == 1
        began = time.monotonic()
        assert slow.recv(1) == b""
        assert time.monotonic() - began < 10
    assert "too slow" in daemon.log.read_text()


def test_many_at_once(daemon: Daemon) -> None:
    links = [daemon.connect() for _ in range(64)]
    for link in links:
        with link, contextlib.suppress(ConnectionError):
            link.recv(1)
    daemon.send(line())
    assert len(daemon.lines()) == 1
    assert "turned away" in daemon.log.read_text()


def test_the_log_cannot_be_steered_by_a_guest(daemon: Daemon) -> None:
    daemon.send(line(message="\x1b[2Jall is well\nvictim: clean", clean=False, reason="timeout"))
    log = daemon.log.read_bytes()
    assert b"\x1b" not in log and b"\\x1b[2J" in log
    assert not any(entry.startswith(b"victim: clean") for entry in log.splitlines())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_other_users_are_turned_away(daemon: Daemon) -> None:
    # Were the modes of folder and socket ever wrong.
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o666)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setuid(12345)
        with contextlib.suppress(OSError):
            daemon.send(line())
        os._exit(0)
    os.waitpid(child, 0)
    wait_until(lambda: "user 12345" in daemon.log.read_text())
    assert daemon.lines() == []


def test_it_ends_when_told_and_starts_over_what_was_left(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="sparc") as folder:
        first = Daemon(Path(folder))
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        assert first.socket.exists()
        second = Daemon(Path(folder))
        second.send(line())
        assert len(second.lines()) == 1
        second.process.terminate()
        second.process.wait(timeout=10)


def test_a_cut_line_harms_no_other(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"cut": ')
    append(journal, parse(line()))
    append(journal, parse(line()))
    cut, *whole = journal.read_text().splitlines()
    assert cut == '{"cut": ' and len(whole) == 2
    assert all(json.loads(entry)["clean"] for entry in whole)


def test_the_journal_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").symlink_to(tmp_path / "other")
    with pytest.raises(OSError):
        append(tmp_path / "journal.jsonl", parse(line()))
    assert not (tmp_path / "other").exists()


def test_where_it_is() -> None:
    assert journal_file(0) == Path("/var/lib/sparc/journal.jsonl")
