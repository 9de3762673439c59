"""The auditor on real checkpoints of a real guest."""

from __future__ import annotations

import json
import secrets as random_source
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sparc_lab import VirtualBoxMachine

from tests.e2e.victims.plant import ENCODINGS, encoded, secret

_VICTIM = Path(__file__).parent / "victims/plant.py"
_COUNT = 200
_PAGE = 4096


def _audit(path: Path, secrets: list[str]) -> tuple[int, dict[str, Any]]:
    program = Path(sys.executable).with_name("sparc")
    done = subprocess.run(
        [str(program), "audit", "--json", str(path)],
        input="\n".join(secrets),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def _stands(finding: dict[str, Any], place: dict[str, Any]) -> bool:
    """Whether the auditor's finding is the planted secret."""
    if finding["place"] != "ram":
        return False
    if finding["address"] == place["first"]:
        return True
    # Any page may end with its first few bytes by chance; the page it goes on in is the one.
    crosses = finding.get("crosses", {"cut": _PAGE})
    return bool(crosses["cut"] < 4 and crosses["address"] == place["last"] // _PAGE * _PAGE)


@pytest.fixture(scope="module")
def planted(machine: VirtualBoxMachine) -> tuple[str, list[dict[str, Any]]]:
    """A guest program holds 200 secrets made from a seed; the seed, and where they stand."""
    seed = random_source.token_hex(16)
    machine.put(_VICTIM, "/root/plant.py")
    machine.shell(f"setsid python3 /root/plant.py {seed} {_COUNT} >/root/plant.log 2>&1 &")
    waited = machine.shell("until [ -e /run/planted ]; do sleep 1; done; cat /run/planted", 300)
    assert waited.status == 0, machine.shell("cat /root/plant.log").text
    return seed, json.loads(waited.text)


@pytest.mark.parametrize("way", ["vboxmanage", "live"])
def test_every_planted_secret_is_found_where_it_stands(
    machine: VirtualBoxMachine, planted: tuple[str, list[dict[str, Any]]], way: str
) -> None:
    seed, places = planted
    path = machine.checkpoint(f"planted-{way}", way)
    status, report = _audit(path, [secret(seed, number) for number in range(_COUNT)])
    assert status == 1
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for one in report["findings"]:
        found.setdefault((one["secret"] - 1, one["encoding"]), []).append(one)
    missing = [
        (number, place)
        for number, place in enumerate(places)
        if not any(_stands(one, place) for one in found.get((number, place["encoding"]), []))
    ]
    assert missing == []
    # The test means something only if both kinds of crossing were there.
    crossing = [place for place in places if place["first"] // _PAGE != place["last"] // _PAGE]
    lengths = [
        len(encoded(secret(seed, number), ENCODINGS[number % len(ENCODINGS)]))
        for number in range(_COUNT)
    ]
    apart = [
        place
        for place, length in zip(places, lengths, strict=True)
        if place["last"] - place["first"] != length - 1
    ]
    assert len(crossing) >= _COUNT // 3
    assert apart


def test_no_secret_is_found_that_was_not_planted(
    machine: VirtualBoxMachine, planted: tuple[str, list[dict[str, Any]]]
) -> None:
    path = machine.checkpoint("not-planted")
    strangers = [secret(random_source.token_hex(16), number) for number in range(_COUNT)]
    status, report = _audit(path, strangers)
    assert (status, report["status"], report["findings"]) == (0, "clean", [])
