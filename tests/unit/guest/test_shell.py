"""`sparc shell` on a real terminal, with a service on a device that is none."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest.bench import Bench
from guest.terminal import Terminal


def _at(bench: Bench, *argv: str, home: Path, shell: str) -> Terminal:
    return Terminal(bench, ["shell", *argv], HOME=str(home), SHELL=shell)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text("PS1='mine> '\nalias greet='echo hello'\n")
    return home


@pytest.mark.parametrize(
    ("shell", "prompt"), [("/bin/bash", r"\(sparc\) mine> "), ("/bin/dash", r"\(sparc\) [#$] ")]
)
def test_a_shell_with_a_terminal_of_its_own(
    bench: Bench, home: Path, shell: str, prompt: str
) -> None:
    if not Path(shell).exists():
        pytest.skip(f"there is no {shell}")
    terminal = _at(bench, home=home, shell=shell)
    try:
        terminal.until("kept by your terminal emulator")
        terminal.until(prompt)
        # The one who passes on is excluded, before there was a shell: that comes by its birth.
        assert bench.device.log == [f"exclude {terminal.pid}"]
        terminal.type("tty; echo parent=$PPID=$SPARC_SHELL=\n")
        own = terminal.until(r"(/dev/pts/\d+)\r")[1]
        assert terminal.until(r"parent=(\d+)=1=")[1] == str(terminal.pid)
        assert Path(own) != Path(f"/proc/{terminal.pid}/fd/0").readlink()
        terminal.until(prompt)
        # Not for the shell's children.
        terminal.type("ls -l /proc/self/fd; echo ov''er\n")
        assert "pipe:" not in terminal.until(r"(?s)^.*over\r")[0]
        terminal.until(prompt)
        terminal.type("exit 7\n")
        assert terminal.status() == 7
    finally:
        terminal.close()


def test_keys_and_sizes_are_passed_on(bench: Bench, home: Path) -> None:
    terminal = _at(bench, home=home, shell="/bin/bash")
    try:
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 31, 91, 0, 0))
        terminal.until("mine> ")
        terminal.type("stty size\n")
        terminal.until("31 91")
        fcntl.ioctl(terminal.fd, termios.TIOCSWINSZ, struct.pack("4H", 41, 101, 0, 0))
        time.sleep(0.3)
        terminal.type("stty size\n")
        terminal.until("41 101")
        terminal.type("sleep 1000; echo status=$?\n")
        time.sleep(0.5)
        terminal.type("\x03")
        terminal.until("mine> ")
        # More than a terminal takes at once, while it is shown at the same time.
        terminal.type("cat\n")
        line = "x" * 79 + "\n"
        for _ in range(400):
            terminal.type(line)
            if select.select([terminal.fd], [], [], 0)[0]:
                os.read(terminal.fd, 65536)
        terminal.type("end of it\n\x04")
        terminal.until("end of it")
        terminal.type("kill -9 $$\n")
        assert terminal.status() == 128 + 9
    finally:
        terminal.close()


def test_the_terminal_is_as_it_was(bench: Bench, home: Path) -> None:
    terminal = _at(bench, "/bin/sh", "-c", "stty raw; exit 3", home=home, shell="/bin/sh")
    try:
        before = termios.tcgetattr(terminal.fd)
        assert terminal.status() == 3
        assert termios.tcgetattr(terminal.fd)[:4] == before[:4]
    finally:
        terminal.close()


def test_no_shell_if_it_cannot_be_excluded(bench: Bench, home: Path) -> None:
    bench.device.errors = [OSError(12, "")] * 3
    terminal = _at(bench, home=home, shell="/bin/bash")
    try:
        assert terminal.status() == 2
        assert "mine>" not in terminal.seen and "the kernel refused" in terminal.seen
    finally:
        terminal.close()


def test_no_such_shell(bench: Bench, home: Path) -> None:
    terminal = _at(bench, "/no/such/shell", home=home, shell="/bin/bash")
    try:
        assert terminal.status() == 127
        assert "No such file" in terminal.seen
    finally:
        terminal.close()
