"""``sparc audit VM:SNAPSHOT``, and scrub, where VirtualBox is installed, through its own SDK."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sparc_lab import Lab, VirtualBoxMachine
from sparc_lab.vboxmanage import TREE, Installation

_CHECKOUT = Path(__file__).parents[2]
# The prompt of the guest's shells: it is surely in its memory.
_THERE = "root@guest"
_NOT_THERE = "nobody ever typed this"


@pytest.fixture(scope="module")
def commands(lab: Lab, machine: VirtualBoxMachine) -> Path:
    """The folder of sparc's commands on the side of the host."""
    return lab.install(_CHECKOUT)


def _audit(lab: Lab, commands: Path, what: str, secret: str) -> subprocess.CompletedProcess[str]:
    return _run(lab, [str(commands / "sparc"), "audit", what], secret)


def _run(lab: Lab, argv: list[str], secret: str = "") -> subprocess.CompletedProcess[str]:
    line = lab.sandbox.argv(TREE, argv, Installation(lab.sandbox).variables)
    return subprocess.run(line, input=secret, capture_output=True, text=True, check=False)


def test_a_snapshot_is_found_by_its_name(
    lab: Lab, machine: VirtualBoxMachine, commands: Path
) -> None:
    machine.checkpoint("named")
    assert _audit(lab, commands, "victim:named", _THERE).returncode == 1
    assert _audit(lab, commands, "victim:named", _NOT_THERE).returncode == 0


def test_a_machine_alone_means_its_current_snapshot(
    lab: Lab, machine: VirtualBoxMachine, commands: Path
) -> None:
    machine.checkpoint("current")
    done = _audit(lab, commands, "victim", _THERE)
    assert done.returncode == 1, done.stderr


@pytest.mark.parametrize("what", ["nobody", "victim:nothing"])
def test_what_is_not_there_is_one_clear_line(
    lab: Lab, machine: VirtualBoxMachine, commands: Path, what: str
) -> None:
    done = _audit(lab, commands, what, _THERE)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert what.split(":")[-1] in done.stderr


def test_a_snapshot_is_scrubbed_by_its_name(
    lab: Lab, machine: VirtualBoxMachine, commands: Path
) -> None:
    path = machine.checkpoint("scrubbed")
    before = path.stat()
    done = _run(lab, [str(commands / "sparc"), "scrub", "victim:scrubbed", "--screen"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.stat().st_ino != before.st_ino
    assert path.stat().st_mode & 0o777 == 0o600
    machine.restore("scrubbed")
    assert machine.run(["true"]).status == 0
