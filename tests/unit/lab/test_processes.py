"""Only what the lab started is ever ended."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sparc_lab.errors import CommandError
from sparc_lab.processes import Process, run, wait_for


def test_a_recorded_process_is_found_and_ended(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "100"])
    process = Process.of(child.pid)
    assert process is not None
    process.record(tmp_path / "p.json")
    found = Process.recorded(tmp_path / "p.json")
    assert found == process
    found.end()
    assert child.wait() == -15
    assert Process.recorded(tmp_path / "p.json") is None


def test_a_stranger_with_the_same_pid_is_left_alone() -> None:
    child = subprocess.Popen(["sleep", "100"])
    try:
        process = Process.of(child.pid)
        assert process is not None
        earlier = Process(child.pid, process.started - 1)
        assert not earlier.alive()
        earlier.end()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_process_that_ignores_the_polite_signal_is_ended_too() -> None:
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; echo on; while :; do sleep 1; done"])
    process = Process.of(child.pid)
    assert process is not None
    process.end(grace=0.3)
    assert child.wait() in (-9, -15)


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"pid": 1}'])
def test_a_damaged_record_names_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    assert Process.recorded(tmp_path / "p.json") is None


def test_run_tells_what_failed() -> None:
    assert run(["echo", "hello"]) == "hello\n"
    with pytest.raises(CommandError, match="status 3") as caught:
        run(["sh", "-c", "echo why >&2; exit 3"])
    assert caught.value.output == "why\n"
    with pytest.raises(CommandError, match="not installed"):
        run(["no-such-program"])
    with pytest.raises(CommandError, match="no end within"):
        run(["sleep", "10"], timeout=0.1)


def test_wait_for_gives_up() -> None:
    assert not wait_for(lambda: False, timeout=0.05, step=0.01)
    assert wait_for(lambda: True, timeout=0)
