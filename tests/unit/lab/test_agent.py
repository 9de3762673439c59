"""The host's side of the guest's agent against a guest played by the agent's own script."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparc_lab.agent import EXCHANGE_BYTES, Agent, _bash_quote
from sparc_lab.errors import GuestError


@given(st.text(alphabet=st.characters(blacklist_characters="\0", codec="utf-8"), max_size=60))
def test_bash_reads_a_quoted_text_as_it_was(text: str) -> None:
    quoted = _bash_quote(text)
    assert quoted.isascii() and quoted.isprintable() and " " not in quoted
    done = subprocess.run(
        ["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True, env={}
    )
    assert done.stdout == text.encode()


class _Guest:
    """Answers on the second serial line what a test tells it to."""

    def __init__(self, folder: Path) -> None:
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "ttyS1.sock"))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rb") as reader:
                request = reader.readline()
                self.requests.append(request)
                number = request.split()[1] if request.split() else b""
                line.sendall(self.answers.pop(0).replace(b"#", number))

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[_Guest]:
    with (tmp_path / "exchange.raw").open("wb") as file:
        file.truncate(EXCHANGE_BYTES)
    guest = _Guest(tmp_path)
    yield guest
    guest.close()


def test_an_answer_on_the_line(guest: _Guest, tmp_path: Path) -> None:
    guest.answers = [b"noise\nA 1 0 0 0 serial\nA # 3 4 2 serial\nout\nno"]
    result = Agent(tmp_path).run(["true"])
    assert (result.status, result.stdout, result.stderr) == (3, b"out\n", b"no")


def test_an_answer_on_the_disk_is_wiped_after(guest: _Guest, tmp_path: Path) -> None:
    with (tmp_path / "exchange.raw").open("r+b") as disk:
        disk.write(b"outerr")
    guest.answers = [b"A # 0 3 3 disk\n", b"A # 0 0 0 serial\n"]
    result = Agent(tmp_path).run(["true"])
    assert (result.stdout, result.stderr) == (b"out", b"err")
    with (tmp_path / "exchange.raw").open("rb") as disk:
        assert disk.read(6) == bytes(6)


@pytest.mark.parametrize(
    "answer",
    [b"", b"A # x y z serial\n", b"A #\n", b"A # 0 999999999999 0 disk\n"],
    ids=["closed", "no numbers", "short", "more than the disk holds"],
)
def test_nonsense_is_an_error_of_the_guest(guest: _Guest, tmp_path: Path, answer: bytes) -> None:
    guest.answers = [answer, b"A # 0 0 0 serial\n"]
    with pytest.raises(GuestError):
        Agent(tmp_path).run(["true"])


def test_nobody_there_is_an_error_of_the_guest(tmp_path: Path) -> None:
    with pytest.raises(GuestError):
        Agent(tmp_path).wait(0.3)
