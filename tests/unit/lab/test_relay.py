"""The relay between a guest that comes and goes and programs that come and go."""

from __future__ import annotations

import functools
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab.processes import wait_for
from sparc_lab.sandbox import python_argv

_MARK = b"."


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Path]:
    child = subprocess.Popen(python_argv("sparc_lab.relay", str(tmp_path), "line"))
    assert wait_for(lambda: (tmp_path / "line.sock").exists(), timeout=10, step=0.02)
    yield tmp_path
    child.kill()
    child.wait()


def _guest(folder: Path) -> tuple[socket.socket, socket.socket]:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "line.vm"))
    server.listen()
    server.settimeout(10)
    line, _ = server.accept()
    line.settimeout(10)
    return server, line


def _program(folder: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(10)
    line.connect(str(folder / "line.sock"))
    return line


def _carries(sender: socket.socket, receiver: socket.socket) -> bool:
    sender.sendall(_MARK)
    receiver.settimeout(0.1)
    try:
        return bool(receiver.recv(1))
    except TimeoutError:
        return False


def _joined(guest: socket.socket, program: socket.socket) -> None:
    """Return when the relay has taken up both: what is sent before that, nobody waits for."""
    for sender, receiver in ((guest, program), (program, guest)):
        assert wait_for(functools.partial(_carries, sender, receiver), timeout=10)
        receiver.settimeout(10)


def _word(line: socket.socket) -> bytes:
    """The next word on it, without the marks before."""
    word = b""
    while not word.strip(_MARK):
        word += line.recv(100)
    return word.strip(_MARK)


def test_both_directions_and_the_log(relay: Path) -> None:
    server, guest = _guest(relay)
    with server, guest, _program(relay) as program:
        _joined(guest, program)
        program.sendall(b"to guest")
        assert _word(guest) == b"to guest"
        guest.sendall(b"from guest")
        assert _word(program) == b"from guest"
    assert (relay / "line.log").read_bytes().strip(_MARK) == b"from guest"


def test_what_nobody_waits_for_is_read_and_logged(relay: Path) -> None:
    server, guest = _guest(relay)
    with server, guest:
        guest.sendall(b"x" * 300000)
        assert wait_for(lambda: (relay / "line.log").stat().st_size == 300000, timeout=10)


def test_a_guest_that_comes_back_is_followed_again(relay: Path) -> None:
    with _program(relay) as program:
        for word in (b"first", b"second"):
            server, guest = _guest(relay)
            _joined(guest, program)
            guest.sendall(word)
            assert _word(program) == word
            guest.close()
            server.close()
            (relay / "line.vm").unlink()


def test_only_its_owner_may_talk_to_the_guest(relay: Path) -> None:
    assert (relay / "line.sock").stat().st_mode & 0o777 == 0o600
