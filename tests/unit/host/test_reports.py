"""Reports: those of the contract are read whole, everything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from host.reporting import good_report
from hypothesis import given
from hypothesis import strategies as st

from host_service.fields import Malformed
from host_service.reports import CLEAN_REASONS, MAX_BYTES, parse


def as_bytes(data: object) -> bytes:
    return json.dumps(data).encode()


def test_a_report_comes_out_as_it_went_in() -> None:
    report = parse(as_bytes(good_report()))
    assert report.clean and report.excluded[1].name == "bash"
    assert report.kinds["registers"].bytes == 2864 and report.state_file == Path(
        "/vm/Snapshots/one.sav"
    )
    assert report.as_json() == good_report()
    assert parse(as_bytes(report.as_json())) == report


def test_of_a_failed_save() -> None:
    data = good_report(saved=False, clean=False, reason="timeout", state_file=None, spins=4)
    report = parse(as_bytes(data))
    assert not report.saved and report.state_file is None and report.as_json() == data


def test_what_the_contract_does_not_know_is_left_out() -> None:
    assert parse(as_bytes(good_report(more={"a": [1]}))).as_json() == good_report()


WRONG: list[dict[str, Any]] = [
    {"version": 2},
    {"version": True},
    {"version": 1.0},
    {"time": "yesterday"},
    {"time": 0},
    {"time": "2026-13-22T20:31:07Z"},
    {"time": "0001-01-01T00:00:00Z"},
    {"time": "9999-12-31T23:59:59Z"},
    {"vm": None},
    {"vm": {"name": "victim"}},
    {"vm": {"name": "x" * 2000, "uuid": "u"}},
    {"vm": {"name": "x", "uuid": "u" * 37}},
    {"state_file": 7},
    {"state_file": "x" * 5000},
    {"live": "no"},
    {"policy": "lenient"},
    {"policy": ["strict"]},
    {"saved": 1},
    {"clean": "true"},
    {"clean": 1},
    {"clean": None},
    {"reason": None},
    {"guest_pid": -1},
    {"guest_pid": 1 << 63},
    {"guest_pid": 1.5},
    {"guest_pid": True},
    {"guest_name": "x" * 65},
    {"message": "x" * 1025},
    {"excluded": {}},
    {"excluded": [1]},
    {"excluded": [{"pid": 1}]},
    {"excluded": [{"pid": "1", "name": "a"}]},
    {"excluded": [{"pid": 1, "name": "a"}] * ((1 << 16) + 1)},
    {"kinds": []},
    {"kinds": {"anon": 1}},
    {"kinds": {"anon": {"pages": 1}}},
    {"kinds": {"x" * 33: {"pages": 1, "bytes": 1}}},
    {"kinds": {str(n): {"pages": 1, "bytes": 1} for n in range(65)}},
    {"pages": {"drop": 1}},
    {"stash_locked": None},
    {"display": "some"},
    {"display_bytes": None},
    {"device_values": -1},
    {"spins": "many"},
    {"steps_us": {"prepare": -1}},
    {"steps_us": {"prepare": None}},
    # Contradictions.
    {"saved": False},
    {"reason": "timeout"},
    {"reason": "policy-off"},
    {"reason": "whatever"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{next(iter(w.items()))}"[:60])
def test_what_is_wrong_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse(as_bytes(good_report(**wrong)))


@pytest.mark.parametrize("name", sorted(good_report()))
def test_nothing_may_be_missing(name: str) -> None:
    data = good_report()
    del data[name]
    with pytest.raises(Malformed):
        parse(as_bytes(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"1" * 5000,
        b"[" * 200_000,
        b'{"a":' * 200_000,
        as_bytes(good_report()) + b"{}",
        as_bytes(good_report())[:-1] + b', "clean": true}',
        as_bytes(good_report()).replace(b"812", b"NaN"),
        as_bytes(good_report()).replace(b"812", b"1e999"),
        as_bytes(good_report()).replace(b"812", b"9" * 5000),
        as_bytes(good_report()) + b" " * MAX_BYTES,
    ],
    ids=range(13),
)
def test_what_is_no_report(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(good_report())), VALUES, min_size=1, max_size=4))
def test_anything_else_is_refused_or_agrees_with_itself(other: dict[str, Any]) -> None:
    try:
        report = parse(as_bytes(good_report(**other)))
    except Malformed:
        return
    assert not report.clean or (report.saved and report.reason in CLEAN_REASONS)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)
