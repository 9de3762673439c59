"""`sparc log`: the journal of checkpoints and restores, read back and followed."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from host.reporting import UUID, good_report

from host_service import journal, log
from host_service.errors import HostError
from host_service.journal import Entry, Restore, append, append_restore, entries, follow
from host_service.reports import Report, parse
from host_service.restore import _note
from host_service.verdict import Verdict
from host_service.virtualbox import Snapshot
from sparc.cli.main import main

EVIL = "\x1b[2J\nvictim: clean\u202e"
RESTORE = Restore(
    datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC), "victim", UUID, "one", "5-6", True, "ok", "gui"
)


def report(**other: Any) -> Report:
    return parse(json.dumps(good_report(**other)).encode())


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal; sparc-hostd runs, for all that is known."""
    found = tmp_path / "state" / "journal.jsonl"
    monkeypatch.setattr(log, "journal_file", lambda: found)
    monkeypatch.setattr(log, "_hostd_runs", lambda: True)
    monkeypatch.setattr(journal, "_EVERY_SECONDS", 0.01)
    return found


def told(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as end:
        main(["log", *words])
    assert not end.value.code
    return capsys.readouterr().out.splitlines()


def test_what_was_noted_comes_back(path: Path) -> None:
    append(path, report())
    append_restore(path, RESTORE)
    first, second = entries(path)
    assert first.what == report() and second.what == RESTORE
    assert first.as_json() == {
        "event": "checkpoint",
        **good_report(),
        "received": first.as_json()["received"],
    }
    assert second.as_json()["event"] == "restore"
    assert path.stat().st_mode & 0o777 == 0o600


def test_lines_for_people(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(path, report())
    append(path, report(clean=False, reason="timeout", message="the guest did not answer"))
    failed = report(saved=False, clean=False, reason="timeout", state_file=None, message="no")
    append(path, failed)
    append_restore(path, RESTORE)
    append_restore(path, replace(RESTORE, clean=False, why="no report", started=None))
    lines = told(capsys)
    ends = (
        "victim  checkpoint  clean: kept out: gpg-agent, bash (2 MiB)  [one.sav]",
        "victim  checkpoint  NOT CLEAN: the guest did not answer  [one.sav]",
        "victim  checkpoint  not taken: no",
        "victim  restored    one, runs (gui); clean",
        "victim  restored    one, not started; NOT CLEAN: no report",
    )
    assert len(lines) == len(ends)
    for line, end in zip(lines, ends, strict=True):
        assert line.endswith(end)
    assert told(capsys, "-n", "2") == lines[-2:] and told(capsys, "-n", "0") == []


def test_of_one_vm(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    append(path, report(vm={"name": "other", "uuid": UUID.replace("d", "e")}))
    append(path, report())
    by_name = told(capsys, "victim", "--json")
    assert by_name == told(capsys, UUID, "--json") and len(by_name) == 1
    assert json.loads(by_name[0])["vm"]["uuid"] == UUID
    assert told(capsys, "nobody") == []


def test_no_journal_yet(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == []


def test_lines_that_are_none_are_passed_over(path: Path) -> None:
    append(path, report())
    good = path.read_bytes()
    entry = json.loads(good)
    wrong = [
        b"",
        b"[]",
        b"\xff",
        b'{"cut": ',
        b"{}",
        json.dumps({**entry, "clean": 1}).encode(),
        json.dumps({**entry, "received": "now"}).encode(),
        json.dumps({**entry, "event": "feast"}).encode(),
        json.dumps({**RESTORE.as_json(), "received": entry["received"], "clean": 1}).encode(),
        json.dumps({**RESTORE.as_json(), "received": entry["received"], "version": 2}).encode(),
        b"x" * (journal._LONGEST + 5),
    ]
    path.write_bytes(good + b"\n".join(wrong) + b"\n" + good + good[:-1])
    # The last has no end yet.
    assert [found.what for found in entries(path)] == [report(), report()]


def test_names_cannot_steer_the_terminal(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = {"excluded": [{"pid": 1, "name": EVIL}], "vm": {"name": EVIL, "uuid": UUID}}
    append(path, report(**evil))
    append(path, report(clean=False, reason="timeout", message=EVIL))
    append_restore(path, replace(RESTORE, snapshot=EVIL, clean=False, why=EVIL))
    lines = told(capsys)
    assert len(lines) == 3 and all(line.isprintable() for line in lines)
    assert all(line.isascii() for line in told(capsys, "--json"))


def upto(found: Iterator[Entry | None], count: int) -> list[Report | Restore | None]:
    return [entry.what if entry else None for entry in itertools.islice(found, count)]


def later(*actions: Any) -> None:
    def work() -> None:
        for action in actions:
            time.sleep(0.1)
            action()

    threading.Thread(target=work, daemon=True).start()


@pytest.mark.timeout(60)
def test_following(path: Path) -> None:
    append(path, report())
    line = path.read_bytes()

    def add(data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)

    found = follow(path)
    assert upto(found, 2) == [report(), None]
    # In halves, as a slow disk may show it.
    later(lambda: add(line[:40]), lambda: add(line[40:]), lambda: append_restore(path, RESTORE))
    assert [next(found).what, next(found).what] == [report(), RESTORE]  # type: ignore[union-attr]


@pytest.mark.timeout(60)
def test_following_one_that_comes_or_becomes_another(path: Path, tmp_path: Path) -> None:
    found = follow(path)
    assert next(found) is None
    later(lambda: append(path, report()))
    assert upto(found, 1) == [report()]
    later(lambda: path.rename(path.with_suffix(".1")), lambda: append(path, report(live=True)))
    assert upto(found, 1) == [report(live=True)]
    append_restore(tmp_path / "shorter", RESTORE)
    later(lambda: path.write_bytes((tmp_path / "shorter").read_bytes()))
    assert upto(found, 1) == [RESTORE]


@pytest.mark.timeout(60)
def test_followed_from_the_last_few(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text: said.append(text))
    before = [Entry(RESTORE.time, replace(RESTORE, snapshot=str(n))) for n in range(5)]
    after = Entry(RESTORE.time, replace(RESTORE, snapshot="new"))
    other = Entry(RESTORE.time, replace(RESTORE, vm_name="other", vm_uuid="7"))
    everything: list[Entry | None] = [*before, other, None, other, after]
    log._follow(iter(everything), "victim", 2, lambda entry: entry.as_json()["snapshot"]["name"])
    assert said == ["3", "4", "new"]


def test_it_says_when_nobody_notes_anything(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(log, "journal_file", lambda: path)
    monkeypatch.setattr(log, "usable_run_dir", lambda: tmp_path)
    assert not log._hostd_runs()
    with pytest.raises(SystemExit):
        main(["log"])
    assert "sparc-hostd does not run" in capsys.readouterr().err
    import fcntl

    with (tmp_path / "hostd.lock").open("w") as lock:
        assert not log._hostd_runs()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert log._hostd_runs()

    def foreign() -> Path:
        raise HostError("not ours alone")

    monkeypatch.setattr(log, "usable_run_dir", foreign)
    assert not log._hostd_runs()


class FakeMachine:
    name, uuid = "victim", UUID


def test_a_restore_is_noted_or_it_is_said_that_it_is_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "journal_file", lambda: path)
    machine: Any = FakeMachine()
    snapshot = Snapshot("5-6", "x" * 2000, RESTORE.time, None)
    assert _note(machine, snapshot, Verdict(True, "ok"), "headless") == ""
    (entry,) = entries(path)
    assert isinstance(entry.what, Restore) and entry.what.started == "headless"
    assert entry.what.snapshot == "x" * 1024
    monkeypatch.setattr(journal, "journal_file", lambda: path / "no")
    assert "File exists" in _note(machine, snapshot, Verdict(True, "ok"), None)
