"""A checkpoint is clean only where a report that surely belongs to it says so."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from host.reporting import UUID, written

from host_service.verdict import beside, judge

TAKEN = datetime(2026, 11, 22, 20, 31, 7, 900_000, UTC)


def test_clean(tmp_path: Path) -> None:
    verdict = judge(written(tmp_path), UUID, TAKEN)
    assert verdict.clean and verdict.report is not None
    assert judge(written(tmp_path), UUID).clean


def test_the_file_beside_is_the_one_of_the_contract(tmp_path: Path) -> None:
    assert beside(tmp_path / "a.b.sav") == tmp_path / "a.b.sparc.json"


def test_not_clean_in_its_own_words(tmp_path: Path) -> None:
    words = "the guest did not answer in 5 s"
    state = written(tmp_path, clean=False, reason="timeout", message=words)
    verdict = judge(state, UUID, TAKEN)
    assert not verdict.clean and verdict.why == words and verdict.report is not None


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"vm": {"name": "victim", "uuid": UUID.replace("d", "e")}}, "another VM"),
        ({"state_file": "/vm/Snapshots/two.sav"}, "another file"),
        ({"state_file": None}, "another file"),
        ({"saved": False, "clean": False}, "nothing was saved"),
        ({"time": "2026-11-22T20:31:05Z"}, "older than this checkpoint"),
        ({"time": "1970-01-01T00:00:00Z"}, "older than this checkpoint"),
        ({"clean": 1}, "has no clean"),
        ({"reason": "no-module"}, "contradicts itself"),
        ({"version": 2}, "version"),
    ],
)
def test_a_report_on_something_else(tmp_path: Path, other: dict[str, Any], why: str) -> None:
    verdict = judge(written(tmp_path, **other), UUID, TAKEN)
    assert not verdict.clean and verdict.report is None and why in verdict.why


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    written(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    assert judge(tmp_path / "link/one.sav", UUID, TAKEN).clean


def test_no_report(tmp_path: Path) -> None:
    state = written(tmp_path)
    beside(state).unlink()
    verdict = judge(state, UUID)
    assert not verdict.clean and "no report" in verdict.why


def test_no_saved_state(tmp_path: Path) -> None:
    state = written(tmp_path)
    state.unlink()
    assert not judge(state, UUID).clean
    assert not judge(None, UUID).clean


def test_a_saved_state_that_was_changed_since(tmp_path: Path) -> None:
    state = written(tmp_path)
    later = beside(state).stat().st_mtime + 1
    os.utime(state, (later, later))
    verdict = judge(state, UUID)
    assert not verdict.clean and "changed" in verdict.why


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_report_that_others_can_write(tmp_path: Path, mode: int) -> None:
    state = written(tmp_path)
    beside(state).chmod(mode)
    verdict = judge(state, UUID)
    assert not verdict.clean and "others" in verdict.why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_report_of_somebody_else(tmp_path: Path) -> None:
    state = written(tmp_path)
    os.chown(beside(state), 12345, -1)
    verdict = judge(state, UUID)
    assert not verdict.clean and "others" in verdict.why


def test_what_is_no_plain_file(tmp_path: Path) -> None:
    state = written(tmp_path)
    report = beside(state)
    kept = report.rename(tmp_path / "kept")
    report.symlink_to(kept)
    assert not judge(state, UUID).clean
    report.unlink()
    os.mkfifo(report, 0o600)
    # Not even held up.
    assert not judge(state, UUID).clean
    report.unlink()
    report.mkdir(0o700)
    assert not judge(state, UUID).clean


def test_a_clock_in_another_zone_is_the_same_clock(tmp_path: Path) -> None:
    from datetime import timezone

    assert judge(written(tmp_path), UUID, TAKEN.astimezone(timezone(timedelta(hours=9)))).clean
