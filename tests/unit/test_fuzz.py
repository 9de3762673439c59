"""A few hundred of the fuzzer's cases; `python -m tools.bench.fuzz --count 100000` runs all."""

from __future__ import annotations

from pathlib import Path

from tools.bench.fuzz import Fuzzer, check

CASES = 400


def test_no_lie_gets_through(tmp_path: Path) -> None:
    fuzzer = Fuzzer(1, tmp_path)
    wrong = {number: found for number in range(CASES) if (found := fuzzer.case(number))}
    assert wrong == {}
    # A fuzzer whose files all fail at the first byte tests nothing.
    assert min(fuzzer.statuses.values()) > CASES // 40, fuzzer.statuses


def test_the_fuzzer_can_fail() -> None:
    assert check(1, "", "sparc: x\n", False)
    assert check(0, "", "", True)
    assert check(2, "", "Traceback (most recent call last)\n...\n", False)
    assert check(2, "", "sparc: internal error (KeyError)\n", False)
    assert check(98, "", "", False)
    assert not check(2, "", "sparc: one clear line\n", True)
