"""Commands for the machine around VirtualBox, with its agent running here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab.guestimage import guest_file
from sparc_lab.processes import Process, wait_for
from sparc_lab.sandbox import python_argv


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The agent, and in ``tmp_path/outer.json`` its record as if it were the whole machine."""
    commands = tmp_path / "commands"
    commands.mkdir()
    script = tmp_path / "outer-agent"
    script.write_text(guest_file("outer-agent"))
    with subprocess.Popen([sys.executable, str(script), str(commands)]) as process:
        outer = Process.of(process.pid)
        assert outer is not None
        outer.record(tmp_path / "outer.json")
        assert wait_for((commands / "ready").exists, timeout=60)
        yield process
        process.kill()


def _remote(tmp_path: Path, *argv: str) -> subprocess.Popen[str]:
    paths = (str(tmp_path / "commands"), str(tmp_path / "outer.json"))
    line = python_argv("sparc_lab.remote", *paths, *argv)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _left(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "commands").iterdir())


@pytest.mark.usefixtures("agent")
def test_output_and_status_are_the_programs(tmp_path: Path) -> None:
    process = _remote(tmp_path, "sh", "-c", "seq 30000; echo wrong >&2; exit 7")
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [*map(str, range(1, 30001)), "wrong"]
    assert process.returncode == 7
    assert _left(tmp_path) == ["ready"]


@pytest.mark.usefixtures("agent")
def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    process = _remote(tmp_path, "/no/such/program")
    process.communicate(timeout=60)
    assert process.returncode == 127


@pytest.mark.usefixtures("agent")
def test_programs_run_side_by_side(tmp_path: Path) -> None:
    """The first waits for what the second does."""
    file = tmp_path / "file"
    first = _remote(tmp_path, "sh", "-c", f"until [ -e {file} ]; do sleep 0.1; done; echo seen")
    second = _remote(tmp_path, "touch", str(file))
    assert first.communicate(timeout=60)[0] == "seen\n"
    assert second.wait(60) == 0


@pytest.mark.usefixtures("agent")
def test_it_is_killed_when_the_caller_is_asked_to_end(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    process = _remote(tmp_path, "sh", "-c", f"echo $$ >{pid}; sleep 1000")
    assert wait_for(lambda: pid.exists() and pid.read_text(), timeout=60)
    there = Process.of(int(pid.read_text()))
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + 9
    assert there is not None and not there.alive()


def test_the_machine_around_is_gone(tmp_path: Path, agent: subprocess.Popen[bytes]) -> None:
    process = _remote(tmp_path, "sleep", "20")
    assert wait_for(lambda: any(".out" in name for name in _left(tmp_path)), timeout=60)
    os.kill(agent.pid, 9)
    assert "is gone" in process.communicate(timeout=60)[1]
    assert process.returncode == 125
