"""What happens between a request of the host and its end, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from guest.fakes import FakeDevice, FakeFreezer

from guest_service.checkpoint import Checkpoints
from guest_service.device import Device, Event, Parked
from guest_service.freezer import Freezer, NotFrozen
from guest_service.history import History
from guest_service.log import Log
from sparc.wire import EventType, Outcome, Reason


class _Bench:
    def __init__(self, folder: Path) -> None:
        self.device = FakeDevice()
        self.freezer = FakeFreezer(self.device.log)
        self.path = folder / "history"
        self.history = History(str(self.path))
        self.checkpoints = Checkpoints(
            cast(Device, self.device), cast(Freezer, self.freezer), self.history, Log(), 2.0
        )

    @property
    def last(self) -> dict[str, Any]:
        assert self.history.checkpoint
        return self.history.checkpoint


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.device.close()


def test_everybody_is_frozen_before_and_thawed_after(bench: _Bench) -> None:
    bench.device.parked = Parked(Outcome.RESUMED, collect_ns=5000, retries=2)
    assert bench.checkpoints.prepare(7) is False
    assert bench.device.log == ["freeze 2", "park 7", "thaw", "thawed"]
    assert bench.last["outcome"] == "resumed" and bench.last["sequence"] == 7
    assert (bench.last["collect_us"], bench.last["retries"]) == (5, 2)


def test_a_culprit_is_told_to_the_host_and_to_people(
    bench: _Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.freezer.trouble = NotFrozen(os.getpid())
    assert bench.checkpoints.prepare(3) is False
    assert bench.device.log == ["freeze 2", f"fail 3 FREEZE {os.getpid()}", "thaw", "thawed"]
    assert (bench.last["outcome"], bench.last["reason"]) == ("failed", "freeze")
    assert bench.last["pid"] == os.getpid() and bench.last["name"]
    assert f"process {os.getpid()}" in capfd.readouterr().err


@pytest.mark.parametrize("trouble", [OSError(errno.ENOSPC, "full"), ValueError("secret-4711")])
def test_what_nobody_foresaw_is_a_failure_of_the_service(
    bench: _Bench, trouble: Exception, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.freezer.trouble = trouble
    assert bench.checkpoints.prepare(3) is False
    assert bench.device.log == ["freeze 2", "fail 3 SERVICE 0", "thaw", "thawed"]
    told = capfd.readouterr().err
    assert type(trouble).__name__ in told and "4711" not in told


def test_a_request_that_was_given_up_is_no_failure_of_the_service(bench: _Bench) -> None:
    bench.device.parked = OSError(errno.ECANCELED, "")
    assert bench.checkpoints.prepare(3) is False
    assert bench.device.log == ["freeze 2", "park 3", "thaw", "thawed"]
    assert bench.last["reason"] == "abandoned"
    bench.freezer.trouble, bench.device.not_waiting = NotFrozen(0), True
    bench.checkpoints.prepare(4)
    assert (bench.last["sequence"], bench.last["reason"]) == (4, "abandoned")


def test_who_cannot_be_thawed_is_left_to_the_module(bench: _Bench) -> None:
    bench.freezer.thaw_trouble = OSError(errno.EIO, "")
    with pytest.raises(OSError):
        bench.checkpoints.prepare(3)
    # Had the module been told that all is thawed, it would not do it when the service dies.
    assert "thawed" not in bench.device.log


def test_a_restore_is_remembered_by_the_next_instance(
    bench: _Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.device.parked = Parked(Outcome.RESTORED, killed=2)
    assert bench.checkpoints.prepare(9) is True
    killed = [Event(EventType.KILLED, 9, pid, name) for pid, name in ((5, b"a"), (6, b"\x1b[2J"))]
    assert bench.checkpoints.killed(9, killed) == ["a (5)", "\\x1b[2J (6)"]
    following = History(str(bench.path))
    assert following.checkpoint and following.checkpoint["outcome"] == "restored"
    assert following.restore == bench.history.restore
    assert following.restore and following.restore["killed"] == [
        {"pid": 5, "name": "a"},
        {"pid": 6, "name": "\\x1b[2J"},
    ]
    assert "\x1b" not in capfd.readouterr().err
    assert bench.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", '{"checkpoint": 5}', "\0"])
def test_a_history_that_cannot_be_read_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "history"
    path.write_text(content)
    history = History(str(path))
    assert (history.checkpoint, history.restore) == (None, None)


def test_numbers_of_a_newer_module_are_told_as_such(bench: _Bench) -> None:
    bench.device.parked = Parked(77, 88)
    bench.checkpoints.prepare(1)
    assert (bench.last["outcome"], bench.last["reason"]) == ("77", "88")


def test_a_reason_of_the_module_is_kept(bench: _Bench) -> None:
    bench.device.parked = Parked(Outcome.FAILED, Reason.NO_MEMORY, 12, b"x")
    bench.checkpoints.prepare(1)
    assert (bench.last["reason"], bench.last["pid"], bench.last["name"]) == ("no-memory", 12, "x")
