"""What a user reads: of checkpoints, of reports that quote a guest, of errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from host.reporting import UUID, good_report

from host_service.checkpoint import Checkpoint, default_name
from host_service.errors import HostError
from host_service.reports import parse
from host_service.verdict import Verdict
from host_service.virtualbox import Snapshot
from sparc.cli.checkpoint import _data, _text
from sparc.cli.wording import words
from sparc.printable import duration, printable, size


def taken(clean: bool = True, why: str = "ok", **other: Any) -> Checkpoint:
    report = parse(json.dumps(good_report(**other)).encode())
    state = Path("/vm/Snapshots/one.sav")
    snapshot = Snapshot("5-6", "one", datetime.now(UTC), state)
    return Checkpoint("victim", UUID, snapshot, Verdict(clean, why, report), interrupted=False)


def test_a_clean_checkpoint_tells_what_was_kept_out_and_how_long_it_took() -> None:
    text = _text(taken())
    assert text.splitlines()[0] == "victim: one: clean"
    for part in (
        "gpg-agent (812), bash (901)",
        "2 MiB  in 512 pages",
        "2.8 KiB\n",
        "240.0 ms",
        "300 us",
    ):
        assert part in text


def test_one_that_is_not_clean_never_looks_so() -> None:
    assert _text(taken(clean=False)).splitlines()[0] == "victim: one: NOT CLEAN"
    assert _data(taken(clean=False))["clean"] is False


def test_without_a_report_it_still_has_words() -> None:
    snapshot = Snapshot("5-6", "one", datetime.now(UTC), Path("/vm/one.sav"))
    done = Checkpoint("victim", UUID, snapshot, Verdict(False, "no report"), interrupted=True)
    assert "NOT CLEAN" in _text(done)
    assert _data(done)["report"] is None


def test_many_programs_are_counted() -> None:
    many = [{"pid": n, "name": f"p{n}"} for n in range(1, 30)]
    assert "p8 (8), 21 more" in _text(taken(excluded=many))


EVIL = "\x1b]0;own\x07\r\x9b31m\u202eclean\n\ud800"


def test_a_guest_cannot_steer_the_terminal() -> None:
    report: dict[str, Any] = {
        "excluded": [{"pid": 1, "name": EVIL}],
        "message": EVIL,
        "guest_name": EVIL,
    }
    text = _text(taken(**report))
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b]0;own" in text and len(text.splitlines()) == len(_text(taken()).splitlines())
    assert json.dumps(_data(taken(**report))).isascii()


def test_printable() -> None:
    assert printable("straße 9 \t") == "straße 9 \\x09"
    assert printable(EVIL).isprintable() and printable(EVIL).encode()


def test_sizes_and_times() -> None:
    assert [size(n) for n in (0, 1023, 1536, 128 << 20, 5 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "128 MiB",
        "5120 GiB",
    ]
    assert [duration(n) for n in (0, 999, 1000, 12_345, 2_500_000)] == [
        "0 us",
        "999 us",
        "1.0 ms",
        "12.3 ms",
        "2.5 s",
    ]


def test_the_name_of_a_checkpoint_that_has_none() -> None:
    assert default_name(datetime(2026, 11, 22, 20, 31, 7)) == "sparc 2026-11-22 20:31:07"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (HostError("it is off", "victim", "start it"), "victim: it is off; start it"),
        (HostError("there is no make"), "there is no make"),
    ],
)
def test_an_error_is_one_line(error: HostError, said: str) -> None:
    assert words(error) == said
