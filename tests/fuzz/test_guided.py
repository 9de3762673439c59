"""Each target for a minute, from what was kept before; and that a mistake is found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from host.reporting import good_report, good_status
from mistakes import PACK, mistaken

from tools.bench.fuzz import bases

_SECONDS = int(os.environ.get("SPARC_FUZZ_SECONDS", "60"))
_CORPUS = Path(__file__).parent / "corpus"
_LIMITS = ("-rss_limit_mb=2048", "-timeout=30", "-print_final_stats=1")
_MODULES = {"sav": 1 << 18, "control": 4096}


def _seeds(name: str) -> list[bytes]:
    """Inputs that are as they should be."""
    if name == "sav":
        return [bases()[0], bases()[2]]
    if name == "control":
        said = (good_report(), good_status(), good_status(last=good_report()))
        return [
            bytes([1 + (number > 0)]) + json.dumps(one).encode() for number, one in enumerate(said)
        ]
    return []


def _run(
    argv: list[str], name: str, seconds: int, tmp_path: Path
) -> subprocess.CompletedProcess[str]:
    found = tmp_path / "found"
    found.mkdir()
    for number, seed in enumerate(_seeds(name)):
        (found / f"seed{number}").write_bytes(seed)
    kept = [str(_CORPUS / name)] if (_CORPUS / name).is_dir() else []
    limits = [f"-max_total_time={seconds}", f"-artifact_prefix={tmp_path}/", *_LIMITS]
    return subprocess.run(
        [*argv, str(found), *kept, *limits],
        capture_output=True,
        text=True,
        errors="replace",
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "tests/unit"},
    )


def _check(done: subprocess.CompletedProcess[str], name: str) -> None:
    """Nothing was found, and more was tried than what was given."""
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    lines = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    given = len(_seeds(name)) + len(list((_CORPUS / name).glob("*")))
    assert int(lines[-1].split()[-1]) > 2 * given


@pytest.mark.parametrize("name", _MODULES)
def test_pythons_side(name: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", f"tests.fuzz.{name}", f"-max_len={_MODULES[name]}"]
    _check(_run(argv, name, _SECONDS, tmp_path), name)


def _guided(pack: Path, out: Path) -> list[str]:
    subprocess.run(["make", "-s", "-C", pack, f"OUT={out}", "guided-binary"], check=True)
    return [str(out / "guided"), "-max_len=400"]


def test_the_packs_side(tmp_path: Path) -> None:
    _check(_run(_guided(PACK, tmp_path), "manifest", _SECONDS, tmp_path), "manifest")


def test_a_mistake_is_found(tmp_path: Path) -> None:
    wrong = mistaken(
        tmp_path / "pack",
        "host_service/extpack/manifest.c",
        "if (d & s)",
        "if (0)",
    )
    done = _run(_guided(wrong, tmp_path), "manifest", 120, tmp_path)
    assert done.returncode != 0 and "in both bitmaps" in done.stderr
