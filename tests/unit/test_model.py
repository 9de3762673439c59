"""Host and guest around a checkpoint, in every order of events: see test/model/model.c.

Pack and module themselves are run there. `make -C host_service/extpack model-binary &&
host_service/extpack/model 2 1` tries more orders, and takes longer.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from mistakes import PACK, mistaken

# Turns taken out of turn, and things that fail.
BOUNDS = (("1", "0"), ("0", "2"), ("1", "1"))
PARK = "kmod/park.c"
JUDGE = "host_service/extpack/checkpoint.c"
INTERPOSE = "host_service/extpack/interpose.c"

RELEASE = "handshake_release(&machine.guest.outside);\n\tmachine_set_park(&none)"
GOOD = "\treturn REASON_OK;\n}\n\nstatic enum checkpoint_reason blank"
# Each is one mistake that must show: where, the right text, and the wrong one.
MISTAKES = {
    "a new request does not end a park": (
        PARK,
        "SPARC_WORD_SEQUENCE(word) != parking->sequence ||",
        "",
    ),
    "a restored guest does not look": (PARK, "return sparc_canary_gone() ?", "return 0 ?"),
    "a restored guest spares the set": (PARK, "\tkill_set(parking);", "\t(void)kill_set;"),
    "the canary is looked at first": (
        PARK,
        "\tu32 outcome = 0;\n",
        "\tu32 outcome = 0;\n\n\tif (sparc_canary_gone())\n\t\treturn SPARC_OUTCOME_RESUMED;\n",
    ),
    "a guest waits for ever": (
        PARK,
        "parking->turns >= READ_ONCE(park_turns)",
        "parking->turns > ~0ull - 1",
    ),
    "a park that is over stands": (
        PARK,
        "SPARC_STATE_FAILED : SPARC_STATE_IDLE",
        "SPARC_STATE_PARKED : SPARC_STATE_PARKED",
    ),
    "nobody is let go": (INTERPOSE, RELEASE, "machine_set_park(&none)"),
    "a live save is not paused": (
        INTERPOSE,
        "checkpoint.streamed = !paused;",
        "checkpoint.streamed = false;",
    ),
    "what was not taken out is clean": (JUDGE, GOOD, GOOD.replace("OK", "NOTHING_EXCLUDED")),
    "neither clean nor whole": (JUDGE, "checkpoint->not_put_back;\n\t}", "0;\n\t}"),
}


def run(pack: Path, out: Path, turns: str, faults: str) -> subprocess.CompletedProcess[str]:
    subprocess.run(["make", "-s", "-C", pack, f"OUT={out}", "model-binary"], check=True)
    return subprocess.run([out / "model", turns, faults], capture_output=True, text=True)


@pytest.mark.parametrize(("turns", "faults"), BOUNDS)
def test_in_no_order_is_anything_wrong(
    turns: str, faults: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.getbasetemp() / "model"
    done = run(PACK, out, turns, faults)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert seen["orders"] > 1000
    assert all(seen[what] > 20 for what in ("clean", "not_clean", "restored")), seen
    assert faults == "0" or seen["refused"] > 20


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_model_finds_mistakes(mistake: str, tmp_path: Path) -> None:
    pack = mistaken(tmp_path, *MISTAKES[mistake])
    found = []
    for turns, faults in (("0", "0"), ("0", "1"), ("1", "0"), ("0", "2"), ("1", "1")):
        done = run(pack, tmp_path, turns, faults)
        found.append(done.stdout)
        if done.returncode:
            assert done.stdout.startswith("wrong:"), done.stdout + done.stderr
            return
    pytest.fail(f"not found: {found}")
