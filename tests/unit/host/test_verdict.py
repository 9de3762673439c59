"""A checkpoint is clean only where a report that surely belongs to it says so."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from host.reporting import UUID, good_report, head_of, put_beside, written
from parked import PAGE, parked
from samples import DATA, SAMPLES, write_state

from host_service.verdict import beside, judge
from sparc import abi

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


# -- another file in the saved state's place


def exchanged(state: Path, pages: dict[int, bytes], **other: Any) -> Path:
    """Another saved state in its place, with the times of the first."""
    before = state.stat()
    made = write_state(state.with_suffix(".new"), pages, **other)
    os.utime(made, ns=(before.st_atime_ns, before.st_mtime_ns))
    return made.rename(state)


_HEAD = head_of(good_report())
_NOTHING: dict[str, Any] = {
    "reason": "nothing-excluded",
    "excluded": [],
    "kinds": {},
    "pages": {"drop": 0, "stash": 0},
    "extents": 0,
}


@pytest.mark.parametrize(
    "pages",
    [
        {},
        {16: b"\x7fsparc mailbox\n".ljust(PAGE, b"\0")},
        parked(256, head=_HEAD, state=abi.State.IDLE),
        parked(256, head=_HEAD, state=abi.State.FAILED),
        parked(256, head=_HEAD | {"sequence": 2}),
        *(
            parked(256, head=_HEAD | {name: _HEAD[name] + 1})
            for name in ("drop_pages", "stash_pages", "extents", "processes", "display")
        ),
        parked(256, head=_HEAD | {"kind_pages": [0, 513] + [0] * 14}),
        parked(256, head=_HEAD | {"kind_bytes": [0] * 16}),
    ],
)
def test_another_file_in_its_place(tmp_path: Path, pages: dict[int, bytes]) -> None:
    state = written(tmp_path)
    assert judge(state, UUID, TAKEN).clean
    verdict = judge(exchanged(state, pages), UUID, TAKEN)
    assert not verdict.clean and "another saved state" in verdict.why
    assert verdict.report is None and verdict.doubted is not None


def test_numbers_that_were_changed_in_the_file(tmp_path: Path) -> None:
    state = written(tmp_path)
    pages = parked(256, head=_HEAD)
    page = bytearray(pages[16])
    page[128 + 256 + 24] ^= 1
    verdict = judge(exchanged(state, {**pages, 16: bytes(page)}), UUID)
    assert not verdict.clean


def test_nothing_was_excluded_but_in_the_file_there_was(tmp_path: Path) -> None:
    assert judge(written(tmp_path, **_NOTHING), UUID).clean
    put_beside(exchanged(tmp_path / "one.sav", parked(256)), **_NOTHING)
    assert "another saved state" in judge(tmp_path / "one.sav", UUID).why
    put_beside(exchanged(tmp_path / "one.sav", {}), **_NOTHING)
    assert not judge(tmp_path / "one.sav", UUID).clean


def test_of_a_live_save_the_last_copy_counts(tmp_path: Path) -> None:
    state, calm = tmp_path / "one.sav", parked(256, armed=0)
    for earlier, last, clean in ((calm, {}, True), (calm, parked(256), False), (calm, calm, True)):
        write_state(state, last, passes=[earlier])
        put_beside(state, **_NOTHING)
        assert judge(state, UUID).clean is clean
    write_state(state, {16: bytes(PAGE)}, passes=[calm])
    put_beside(state, **_NOTHING)
    assert not judge(state, UUID).clean


def test_an_older_file_with_the_same_numbers(tmp_path: Path) -> None:
    state = written(tmp_path)
    before = state.stat().st_mtime
    os.utime(state, (before, before - 300))
    assert judge(state, UUID).clean  # the disk was slow
    os.utime(state, (before, before - 3600))
    verdict = judge(state, UUID)
    assert not verdict.clean and "another saved state" in verdict.why


def test_what_cannot_be_compared_is_not_clean(tmp_path: Path) -> None:
    state = exchanged(written(tmp_path), parked(256, head=_HEAD, version=9))
    assert "not verified" in judge(state, UUID).why and not judge(state, UUID).clean
    state = written(tmp_path)
    with state.open("r+b") as file:
        file.truncate(200)
    put_beside(state)
    assert "not verified" in judge(state, UUID).why and not judge(state, UUID).clean


def test_no_more_is_read_than_is_needed(tmp_path: Path) -> None:
    beyond = {page: os.urandom(PAGE) for page in range(4096, 6144)}
    state = exchanged(written(tmp_path), parked(256, head=_HEAD) | beyond, ram=6144 * PAGE)
    with state.open("r+b") as file:
        file.truncate(state.stat().st_size - PAGE)
    put_beside(state)
    assert judge(state, UUID).clean


@pytest.mark.parametrize("name", SAMPLES)
def test_what_virtualbox_saved_of_a_guest_without_sparc(tmp_path: Path, name: str) -> None:
    state = written(tmp_path)
    state.write_bytes((DATA / f"{name}.sav").read_bytes())
    put_beside(state)
    assert "another saved state" in judge(state, UUID).why
