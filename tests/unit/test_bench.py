"""Measurements are kept, compared in pairs, and held against what was aimed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.bench import targets
from tools.bench.notes import NOTES
from tools.bench.performance import write
from tools.bench.ratios import ratios
from tools.bench.results import Measured, Results
from tools.bench.vbox_log import between

_LOG = """\
00:00:01.000000 Changing the VM state from 'CREATED' to 'LOADING'
00:00:03.250000 Changing the VM state from 'LOADING' to 'SUSPENDED'
00:00:04.000000 Changing the VM state from 'RUNNING' to 'SUSPENDING'
00:00:04.500000 Changing the VM state from 'SUSPENDING' to 'SUSPENDED'
00:59:59.000000 Changing the VM state from 'SUSPENDED' to 'RESUMING'
01:00:00.000000 Changing the VM state from 'RESUMING' to 'RUNNING'
"""


def _round(number: int, case: str, default: float, sparc: float, **more: Any) -> list[Measured]:
    """Of one machine of 1 GB; both took so many seconds to take and to read, and MB."""
    steps = {"stash": 0.001, "zero": 0.002, "put_back": 0.001, "stash_bytes": 10 << 20}
    whole = {**steps, "drop_pages": 1000, "prepare": 5.0, **more}
    return [
        {
            "experiment": "memory",
            "memory": 1024,
            "case": case,
            "system": system,
            "round": number,
            "prepare": 0.0,
            **own,
            "command": took + own.get("prepare", 0.0),
            "still": took,
            "saving": took,
            "restore": took,
            "file": int(took * (1 << 20)),
        }
        for system, took, own in (("default", default, {}), ("sparc", sparc, whole))
    ]


def _reached(lines: list[Measured]) -> dict[str, bool | None]:
    return {one.target: one.reached for one in targets.targets(lines)}


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "measured"
    results = Results(path)
    for number in (1, 2):
        results.add(*_round(number, "freed", 2, 1))
    with path.open("a") as file:
        file.write('{"experiment": "mem')
    again = Results(path)
    assert again.lines == results.lines
    assert again.missing(4, experiment="memory", memory=1024, case="freed") == [3, 4]
    assert again.missing(1, experiment="memory", memory=512, case="freed") == [1]
    again.add(*_round(3, "freed", 2, 1))
    assert [line["round"] for line in Results(path).lines] == [1, 1, 2, 2, 3, 3]


def test_ratios_are_of_the_two_in_one_round() -> None:
    lines = [*_round(1, "freed", 10, 1), *_round(2, "freed", 1, 0.2), *_round(3, "freed", 4, 1.2)]
    ratio = ratios([*lines, _round(4, "freed", 1, 9)[1]], "checkpoint")[1024, "freed"]
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.1, 0.2, 0.3))
    assert ratio.rounds == 3


def test_states_are_timed_by_the_log(tmp_path: Path) -> None:
    log = tmp_path / "VBox.log"
    log.write_text(_LOG)
    assert between(log, "LOADING", "SUSPENDED") == 2.25
    assert between(log, "SUSPENDING", "RUNNING") == 3600 - 4
    assert between(log, "RESUMING", "RUNNING") == 1


def test_what_was_not_measured_is_not_reached() -> None:
    assert set(_reached([]).values()) == {None}


def test_a_target_is_reached_or_missed_by_what_was_measured() -> None:
    good, bad = _round(1, "freed", 10, 2.9), _round(1, "freed", 10, 3.1)
    assert _reached(good)["checkpoint at most 0.3"] is True
    assert _reached(bad)["checkpoint at most 0.3"] is False
    assert _reached(bad)["restore of a file in the page cache at most 0.5"] is True
    # More by 1 % alone does not do, if that is long.
    idle = _reached(_round(1, "idle", 10, 10.1))
    assert (idle["checkpoint at most 1.02"], idle["never more than 20 ms more"]) == (True, False)


def test_what_is_missed_is_explained(tmp_path: Path) -> None:
    known = {one.target for one in targets.targets([])}
    assert set(NOTES) <= known
    write(_round(1, "freed", 10, 6), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "*restore of a file in the page cache at most 0.5*: VirtualBox writes zeros" in text
    write(_round(1, "freed", 10, 1), tmp_path)
    assert "writes zeros" not in (tmp_path / "performance.md").read_text()


def test_the_cost_of_each_megabyte_is_found() -> None:
    lines = []
    for number, (stash, drop, case) in enumerate(
        [(1, 900, "idle"), (500, 400, "idle"), (10, 800, "freed"), (100, 800, "idle")]
    ):
        # 0.3 ms for one that is stashed, 0.09 for one that is dropped, 0.02 for one that is zero.
        full = min(drop, 716) if case == "freed" else 0
        took = 0.3 * stash + 0.09 * full + 0.02 * (drop - full)
        more = {"stash": took / 2000, "zero": took / 4000, "put_back": took / 4000}
        sizes = {"stash_bytes": stash << 20, "drop_pages": drop << 8}
        lines += _round(number, case, 1, 1, **more, **sizes)
    assert targets.cost_per_mb(lines) == pytest.approx({"stash": 0.3, "drop": 0.09, "zero": 0.02})


def test_the_page_has_each_target_and_the_steps(tmp_path: Path) -> None:
    guest = {"guest_freeze": 1.0, "guest_collect": 0.5, "guest_thaw": 0.25}
    times = {"write": 0.7, "suspending": 0.01, "resuming": 0.02}
    lines = [*_round(1, "freed", 10, 2, **guest, **times), *_round(2, "freed", 10, 2)]
    write(lines[:2], tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert text.count("\n| ") > len(list(targets.targets([])))
    assert "| - sync, park, and what lies between (the rest) |  | 3500.0 |" in text
    assert "| write | 10000.0 | 700.0 |" in text
    assert (tmp_path / "performance/memory.png").stat().st_size < 50_000
