"""The host's half of the handshake against a guest that a thread plays."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

PACK = Path(__file__).parents[2] / "host_service/extpack"
RESUMED, ABANDON = 2, 3
LOST, SWAP = 7, 6
TIMEOUT_US = 300_000


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The player of scenes, built afresh."""
    out = tmp_path_factory.mktemp("handshake")
    subprocess.run(["make", "-s", "-C", PACK, f"OUT={out}", "handshake-binary"], check=True)
    return out / "handshake"


def play(program: Path, scene: str) -> dict[str, Any]:
    done = subprocess.run([program, scene], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("scene", ["park", "late"])
def test_a_guest_that_parks_is_let_go(program: Path, scene: str) -> None:
    seen = play(program, scene)
    assert seen["verified"] == "parked"
    assert (seen["released"], seen["request"]) == (1, RESUMED)
    assert seen["torn"] == 0 and seen["requests"] == 2
    assert seen["took_us"] < TIMEOUT_US


def test_a_guest_that_cannot_park_says_why(program: Path) -> None:
    seen = play(program, "failed")
    assert (seen["answer"], seen["guest_reason"]) == ("failed", SWAP)
    assert seen["took_us"] < TIMEOUT_US
    assert seen["reason"] == "guest-failed" and seen["refused"]


@pytest.mark.parametrize("scene", ["silent", "copy", "after-abandon"])
def test_nobody_waits_for_ever(program: Path, scene: str) -> None:
    seen = play(program, scene)
    assert seen["answer"] == "timeout"
    assert TIMEOUT_US <= seen["took_us"] < 10 * TIMEOUT_US
    assert seen["reason"] == "timeout" and seen["refused"]
    # One that parked after all is let go all the same.
    late = scene == "after-abandon"
    assert (seen["request"], seen["released"]) == ((RESUMED, 1) if late else (ABANDON, 0))


def test_an_answer_to_another_request_is_none(program: Path) -> None:
    seen = play(program, "other-sequence")
    assert seen["answer"] == "timeout" and seen["refused"]


def test_a_machine_that_no_longer_runs_is_not_waited_for(program: Path) -> None:
    seen = play(program, "stopped")
    assert seen["answer"] == "timeout" and seen["took_us"] < TIMEOUT_US


@pytest.mark.parametrize("scene", ["lost", "idle"])
def test_a_guest_that_let_go_before_the_pause_is_not_parked(program: Path, scene: str) -> None:
    seen = play(program, scene)
    assert (seen["answer"], seen["verified"]) == ("parked", "failed")
    assert seen["guest_reason"] == LOST and seen["refused"]


@pytest.mark.parametrize("scene", ["gone", "moved"])
def test_a_mailbox_that_goes_away_does_not_make_a_checkpoint_pass(
    program: Path, scene: str
) -> None:
    seen = play(program, scene)
    assert seen["verified"] == "timeout"
    assert seen["reason"] == "timeout" and seen["refused"]


def test_more_than_one_mailbox_is_none(program: Path) -> None:
    seen = play(program, "ambiguous")
    assert (seen["answer"], seen["reason"]) == ("ambiguous", "ambiguous")
    assert seen["refused"] and seen["requests"] == 0


@pytest.mark.parametrize("scene", ["no-module", "not-armed"])
def test_a_guest_without_exclusions_is_left_alone(program: Path, scene: str) -> None:
    seen = play(program, scene)
    assert seen["answer"] == scene and not seen["refused"]
    assert seen["request"] in (0, RESUMED), "a request was written"
    assert seen["took_us"] < TIMEOUT_US


def test_a_restored_guest_is_let_go(program: Path) -> None:
    seen = play(program, "restored")
    assert (seen["answer"], seen["released"], seen["request"]) == ("not-asked", 1, RESUMED)
