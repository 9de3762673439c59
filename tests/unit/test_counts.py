"""What the pack does to a guest's memory, in accesses and instructions: more is a step back."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

_PACK = Path(__file__).parents[2] / "host_service/extpack"
_RAM = 500_000
_PAGES = 1000
# The C library's copies by words: what copies bytes in one instruction is counted byte by byte.
_BY_WORDS = ":".join(
    f"glibc.cpu.x86_rep_{name}_threshold=1000000000" for name in ("movsb", "stosb")
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that counts, built afresh."""
    out = tmp_path_factory.mktemp("count")
    subprocess.run(["make", "-s", "-C", _PACK, f"OUT={out}", "count-binary"], check=True)
    return out / "count"


def _instructions(program: Path, *pages: int) -> int:
    """Of which so many pages are RAM, put back, dropped, and dropped though they are zero."""
    argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", str(program)]
    done = subprocess.run(
        [*argv, *map(str, pages)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"GLIBC_TUNABLES": _BY_WORDS},
    )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    assert counted, done.stderr
    return int(counted[1])


def test_each_page_is_read_once_and_written_no_more_than_it_must_be(program: Path) -> None:
    done = subprocess.run([program, "9000", "1000", "500", "300"], capture_output=True, check=True)
    assert json.loads(done.stdout) == {"reads": 1000 + 500 + 300, "writes": 2 * 1000 + 500}


def test_instructions(program: Path) -> None:
    """A copy of a page are some 500, a comparison of one as many."""
    base = _instructions(program, _RAM, 1, 0, 0)
    each = {
        "put back": _instructions(program, _RAM, 1 + _PAGES, 0, 0),
        "dropped": _instructions(program, _RAM, 1, _PAGES, 0),
        "zero": _instructions(program, _RAM, 1, 0, _PAGES),
    }
    cost = {name: (count - base) / _PAGES for name, count in each.items()}
    assert cost["put back"] < 2900
    assert cost["dropped"] < 2000
    assert cost["zero"] < 1400
    # Of what is not named at all, two bitmaps are looked through.
    assert (_instructions(program, 2 * _RAM, 1, 0, 0) - base) / _RAM < 1
