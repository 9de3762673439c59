"""Many files at once, in parts: what is found is what one search of each finds."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import signal
from pathlib import Path

import pytest
from samples import DATA, SAMPLES, write_state

from sparc.audit import many, raw, tasks
from sparc.audit.local import processes
from sparc.audit.many import audit_all
from sparc.audit.report import CLEAN, INCOMPLETE, RESIDUE, Report
from sparc.audit.run import audit
from sparc.audit.secrets import Secret
from sparc.errors import Damaged, NotASavedState, NotReadable
from sparc.sav.c_ssm import REC_LZF
from sparc.sav.state import SavedState
from tools.bench.savwriter import PAGE

VALUES = (b"correct horse battery staple", b"in every other page", b"in no place")
SECRETS = [Secret(i, "test", i, value) for i, value in enumerate(VALUES, 1)]


def archive(folder: Path) -> list[str]:
    """Saved states with secrets in every kind of place, one damaged, and what is none."""
    rng = random.Random(11)
    staple, every, _ = VALUES
    pages = {}
    for number in range(1200):
        noise = rng.randbytes(64) * 64 if number % 3 else rng.randbytes(PAGE)
        pages[number] = noise if number % 2 else every + noise[len(every) :]
    for number in (101, 103, 500):  # across, and over one in between
        pages[number] = pages[number][:-10] + staple[:10]
    for number in (102, 700):
        pages[number] = staple[10:] + pages[number][len(staple) - 10 :]
    packed = gzip.compress(rng.randbytes(900).hex().encode() + staple, mtime=0)
    head, tail = packed[:40], packed[40:]
    pages[900], pages[901] = pages[900][:-40] + head, tail + pages[901][len(tail) :]
    paths = [folder / f"{name}.sav" for name in ("a", "b", "c", "d")]
    unit = {"vga": rng.randbytes(100) + gzip.compress(staple * 2)}
    write_state(paths[0], pages, unit, ram=1200 * PAGE)
    write_state(
        paths[1], {n: page for n, page in pages.items() if n % 2 and n > 901}, ram=1200 * PAGE
    )
    damaged = bytearray(paths[0].read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    paths[2].write_bytes(damaged)
    paths[3].write_bytes(staple)
    others = [str(DATA / f"{name}.sav") for name in SAMPLES]
    return [*map(str, paths), *others, str(folder / "none.sav")]


def alone(path: str, secrets: list[Secret] = SECRETS) -> Report:
    """What a search of one file by itself finds."""
    return many._alone(path, secrets, None)


def same(some: list[Report], others: list[Report]) -> bool:
    """Whether two searches say the same, but for which errors are the same objects."""

    def said(report: Report) -> object:
        problems = [(type(p), p.args) for p in report.problems]
        return report.as_json(), problems, report.secrets

    return [said(report) for report in some] == [said(report) for report in others]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps small enough that each file has many."""
    monkeypatch.setattr(many, "WINDOWS", 2)
    monkeypatch.setattr(many, "PAGES", 70)
    monkeypatch.setattr(raw, "WINDOW", 64 << 10)


def test_parts_find_what_a_search_of_the_whole_finds(tmp_path: Path, small_parts: None) -> None:
    paths = archive(tmp_path)
    expected = [alone(path) for path in paths]
    assert [r.status for r in expected[:4]] == [RESIDUE, CLEAN, INCOMPLETE, INCOMPLETE]
    assert {f.place for f in expected[0].findings} == {"ram", "unit"}
    assert any(f.layers and f.place == "ram" for f in expected[0].findings)
    assert any(f.crosses for f in expected[0].findings)
    told: list[tuple[int, int]] = []
    reports = audit_all(paths, SECRETS, processes, lambda done, total: told.append((done, total)))
    assert same(reports, expected)
    # One bar: it never goes back, and ends where it should.
    assert told == sorted(told) and told[-1][0] == told[-1][1]
    assert len(told) > 2 * len(paths)


def test_one_large_file_has_all_processors(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path, *_) = archive(tmp_path)
    monkeypatch.setattr(many, "_processors", lambda: 4)
    monkeypatch.setattr(many, "_SMALL", 0)
    monkeypatch.setattr(many, "audit", None)
    assert same(audit_all([path], SECRETS), [audit(path, SECRETS)])


def test_a_process_that_is_killed_is_no_clean_bill(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = archive(tmp_path)[1:2] * 3
    monkeypatch.setitem(tasks._STEPS, "raw", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    reports = audit_all(paths, SECRETS, processes)
    assert [report.status for report in reports] == [INCOMPLETE] * 3
    assert all(isinstance(report.problems[0], NotReadable) for report in reports)


@pytest.mark.parametrize("step", ["raw", "unpacked", "report"])
def test_a_file_that_changes_between_two_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = archive(tmp_path)[0]
    do = tasks._STEPS[step]

    def late(*args: object) -> object:
        os.utime(path)
        return do(*args)

    monkeypatch.setitem(tasks._STEPS, step, late)
    (report,) = audit_all([path], SECRETS, processes)
    assert report.status == INCOMPLETE
    assert "changed" in str(report.problems[0].args)


def test_what_a_step_cannot_do_is_a_result_without_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError(VALUES[0])

    monkeypatch.setitem(tasks._STEPS, "plan", fail)
    (report,) = audit_all([archive(tmp_path)[0]], SECRETS, processes)
    assert report.status == INCOMPLETE
    assert "ValueError" in str(report.problems[0].args)
    assert VALUES[0].decode() not in repr(report.problems)
    # One that does not know of the job, as after it has ended.
    assert isinstance(tasks.run("another", "plan", 0), tasks.Failed)
    assert not tasks.JOBS and not tasks._matchers


def test_errors_come_through_a_pipe_as_they_were() -> None:
    for error in (
        Damaged("checksum", 7, 1, 2, checksum=True),
        Damaged("page", 9, None, b"x"),
        NotASavedState(b"magic", "empty"),
        NotReadable("/a", "gone"),
    ):
        other = pickle.loads(pickle.dumps(error))
        assert type(other) is type(error) and vars(other) == vars(error)


def test_no_step_has_the_secrets_among_its_arguments(tmp_path: Path, small_parts: None) -> None:
    job = tasks.Job.of(archive(tmp_path), SECRETS)
    assert all(not secret.value for secret in job.secrets)
    for value in VALUES:
        assert repr(value)[2:-1] not in repr(job) + repr(job.wanted)


def test_of_damaged_files_parts_find_the_same(tmp_path: Path, small_parts: None) -> None:
    rng = random.Random(5)
    source = archive(tmp_path)[0]
    whole = Path(source).read_bytes()
    paths: list[str] = []
    for number in range(12):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 3, 10))):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        if number % 4 == 0:
            del data[rng.randrange(len(data)) :]
        # One compressed page that is none.
        if number == 1:
            data = bytearray(whole)
            with SavedState(source) as state:
                place = state.place(1)
            assert place is not None and data[place.offset] & 0x0F == REC_LZF
            data[place.offset + 5 : place.offset + 40] = b"\xff" * 35
        paths.append(str(tmp_path / f"damaged-{number}.sav"))
        Path(paths[-1]).write_bytes(data)
    expected = [alone(path) for path in paths]
    assert "compressed page" in {getattr(p, "what", "") for p in expected[1].problems}
    assert {report.status for report in expected} == {INCOMPLETE}
    assert same(audit_all(paths, SECRETS, processes), expected)
