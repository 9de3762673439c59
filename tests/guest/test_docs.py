"""What the pages show to be typed in a guest is typed in one, with systemd, in the pages' order."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest
from sparc_lab import Lab, QemuMachine

from tests.documented import GUEST, commands, run_in, shown
from tests.guest.served import Served

_UNIT = "firefox.service"
_FILE = "/root/kept"
_SETUP = f"""
folder=/lib/modules/$(uname -r)/updates
mkdir -p $folder && cp /root/sparc.ko $folder && depmod -a
systemctl enable sparc-guestd
echo kept >{_FILE}
systemd-run --quiet --unit {_UNIT} sleep 1004
"""


@pytest.fixture(scope="module")
def kernel() -> str:
    """One with systemd."""
    return "debian-6.1"


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Served]:
    here = Served(lab, guest, kernel)
    here.ok(_SETUP)
    yield here


def _excluded(here: Served) -> set[int]:
    return {row["pid"] for row in here.json("sparc list --json")["processes"]}


@pytest.mark.parametrize("line", [line for _, line in run_in(GUEST)])
def test_it_does_what_the_page_says(here: Served, line: str) -> None:
    pid = here.start("sleep 1005")
    words = {"PID": str(pid), "CMD": "sparc list --json", "FILE": _FILE}
    for command in commands(line, words):
        if command == f"sparc include {pid}":
            here.ok(f"sparc exclude {pid}")
            assert pid in _excluded(here)
        here.ok(_run(command))
        if "exclude" in command:
            whose = here.ok(f"systemctl show -P MainPID {_UNIT}") if _UNIT in command else pid
            assert "--tty" in command or int(whose) in _excluded(here), command
        elif "include" in command:
            assert pid not in _excluded(here)
    here.ok(f"kill {pid}")


def _run(command: str) -> str:
    """It, at a terminal where it needs one."""
    if command in ("sparc shell", "sparc top", "sparc exclude --tty"):
        return _at_terminal(command)
    if command == "sparc doctor":
        return "sparc doctor || [ $? = 2 ]"
    return command


def _at_terminal(command: str) -> str:
    """A script in which it has a terminal, and what ends it is typed there."""
    typed = {"sparc shell": r"echo $SPARC_SHELL >/root/told; exit\n", "sparc top": "q"}
    text = typed.get(command, "")
    there = f"script -qec {shlex.quote(command)} /dev/null"
    script = f"(sleep 5; printf '{text}'; sleep 5) | {there}"
    return script + "; grep -qx 1 /root/told" * (command == "sparc shell")


def test_what_installing_shows(here: Served) -> None:
    """Of the rest, what needs no packages: tests/packages has that."""
    here.ok(commands("sudo adduser USER sparc", {"USER": "games"})[0])
    assert "sparc" in here.ok("id -nG games").split()
    here.ok("sparc include $(pgrep -x sleep) || true; pkill -x sleep")
    anew = (
        "sudo systemctl stop sparc-guestd && sudo rmmod sparc && sudo systemctl start sparc-guestd"
    )
    assert anew in shown("docs/installing.md")
    here.ok(commands(anew, {})[0])
    here.ok("sparc doctor || [ $? = 2 ]")
