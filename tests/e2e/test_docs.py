"""What the pages show to be typed is typed, in their order, on a real host and in its guest.

Of `sparc restore` the lab starts the VM itself: without VirtualBox's kernel module it needs an
option that sparc does not know.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sparc_lab import Lab, Settings
from sparc_lab.vboxmanage import TREE, Installation

from tests.documented import HOST, commands, run_in
from tests.e2e.guarded import Guarded
from tools.docs import gpg_agent
from tools.protect import PROJECT

_NAME = "desk"
_SIZE = Settings(_NAME, "virtualbox", memory=1024)
_SECONDS = 300
# Nothing is wrong, but not everything could be looked at.
_DOCTOR = (0, 2)
_LINES = {page: [line for at, line in run_in(HOST) if at == page] for page, _ in run_in(HOST)}
_START = "docs/start.md"


class _Desk:
    """The VM of docs/start.md, with gpg-agent in its guest, and a user of its host."""

    def __init__(self, lab: Lab, guarded: Guarded) -> None:
        self.machine = guarded.machine
        self._guarded, self._lab, self._commands = guarded, lab, lab.install(PROJECT)
        gpg_agent.install(lab, self.machine)
        self.pid = gpg_agent.start(self.machine)
        self.folder = lab.sandbox.files / "alice"
        self.folder.mkdir()
        self.words = {
            "VM": _NAME,
            "VM2": _NAME,
            "SNAPSHOT": "first",
            "F": "secrets",
            "FILE": "page.html",
            "OUT": "memory",
            "NAME": "gpg-agent",
            "PID": str(self.pid),
        }

    def host(self, command: str, typed: str = "", *, ends: Sequence[int] = (0,)) -> str:
        """What a line prints that is typed on the host; it has to end with one of these."""
        told = f"cd {self.folder}; PATH={self._commands}:$PATH; {command}"
        variables = Installation(self._lab.sandbox).variables
        argv = self._lab.sandbox.argv(TREE, ["bash", "-c", told], variables)
        done = subprocess.run(
            argv, input=typed, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert done.returncode in ends, (command, done)
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    def guest(self, command: str, *, ends: Sequence[int] = (0,)) -> str:
        """The same, typed in the guest."""
        ended = " || ".join([command, *(f"[ $? = {end} ]" for end in ends if end)])
        return self._guarded.sh(ended)

    def restore(self, command: str) -> None:
        """Type that on the host, and let the guest go on from there."""
        if "--force" not in command:
            # What runs is left alone.
            assert self.host(command, ends=[2]) == ""
            self.machine.power_off()
        self.host(f"{command} --no-start")
        self.machine.start(_SECONDS)
        # Its disk is as it was, too: of earlier ones nothing is told there.
        self._guarded.await_restored(1)


@pytest.fixture(scope="module")
def desk(guarded_lab: Lab, stored: Path) -> Iterator[_Desk]:
    with Guarded.up(guarded_lab, _SIZE, stored) as guarded:
        yield _Desk(guarded_lab, guarded)


def test_five_minutes(desk: _Desk) -> None:
    """All of the page, but for the installation: tests/packages has that."""
    lines = iter(_LINES[_START])
    desk.host("VBoxManage snapshot desk take before")

    doctor = next(lines)
    desk.guest(doctor, ends=_DOCTOR)
    desk.host(f"{doctor} {_NAME}", ends=_DOCTOR)
    assert desk.guest(next(lines)) == f"{desk.pid} gpg-agent: excluded"
    assert "gpg-agent" in desk.guest("sparc list")

    taken = desk.host(next(lines))
    assert taken.startswith("desk: first: clean\n")
    assert f"kept out: gpg-agent ({desk.pid})\n" in taken
    assert "clean; kept out: gpg-agent (" in desk.host(next(lines))

    secret = gpg_agent.secret(desk.machine, desk.pid)
    audit = next(lines)
    clean = "clean: none of 1 secrets is in this checkpoint\n"
    assert desk.host(audit, secret + "\n") == clean
    before = desk.host(audit.replace("first", "before"), secret + "\n", ends=[1])
    assert "Secret 1 (standard input, line 1): " in before and secret not in before
    (desk.folder / "secrets").write_text(secret + "\n")

    desk.restore(next(lines))
    assert f"ended: {desk.pid} gpg-agent" in desk.guest("sparc status")
    assert next(lines, None) is None


@pytest.mark.parametrize("line", _LINES["docs/host.md"])
def test_on_the_host(desk: _Desk, line: str) -> None:
    for command in commands(line, desk.words):
        if command.startswith("sparc restore "):
            desk.restore(command)
        elif " -f " in command:
            # Until somebody ends it.
            desk.host(f"timeout 3 {command}", ends=[124])
        else:
            said = desk.host(command, ends=_DOCTOR if "doctor" in command else (0,))
            assert said or "policy" in command


@pytest.fixture(scope="module")
def reader(desk: _Desk) -> _Desk:
    """That user, with what reads the kernel in a file."""
    authorities = desk.folder.parent / "ca-certificates.crt"
    known = f"PIP_CERT={authorities}" if authorities.exists() else ""
    desk.host(f"{known} python -m pip install -q drgn")
    return desk


@pytest.mark.long
@pytest.mark.parametrize("line", _LINES["docs/saved-states.md"] + _LINES["README.md"])
def test_saved_states(reader: _Desk, line: str) -> None:
    archive = reader.folder / "archive"
    archive.mkdir(exist_ok=True)
    shutil.copy(reader.machine.saved_state("first"), archive / "one.sav")
    words = {**reader.words, "FILE": "archive/one.sav"}
    for command in commands(line, words):
        if command.endswith("--dry-run"):
            command += " --free"
        said = reader.host(command)
        if "export" in command:
            # Sparse, but whole.
            size = (reader.folder / reader.words["OUT"]).stat().st_size
            assert size >= reader.machine.settings.memory << 20
        else:
            assert said
