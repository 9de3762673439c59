"""The extension pack's C code, built for the host with ASan and UBSan, against guests that lie.

`make -C host_service/extpack fuzz-binary && host_service/extpack/fuzz 1 100000` runs the big count.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from mistakes import PACK, mistaken

CASES = 2000


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzzer, built afresh."""
    out = tmp_path_factory.mktemp("fuzz")
    subprocess.run(["make", "-s", "-C", PACK, f"OUT={out}", "fuzz-binary"], check=True)
    return out / "fuzz"


def test_no_guest_gets_the_host_to_touch_what_it_must_not(fuzz: Path) -> None:
    done = subprocess.run([fuzz, "1", str(CASES), "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stderr)
    # One whose guests all fail at the first check tests nothing.
    assert seen["ok"] > CASES // 5 and seen["bad-manifest"] > CASES // 5
    for reason in (
        "guest-failed",
        "ambiguous",
        "not-asked",
        "nothing-excluded",
        "internal",
        "screen",
    ):
        assert seen[reason] > 2, (reason, seen)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == CASES // 20
    assert all(report["clean"] == (report["reason"] in CLEAN) for report in reports)
    assert any(report["excluded"] for report in reports)


CLEAN = ("ok", "nothing-excluded")

TAKEN = "i < stash->count; i++)\n\t\tif"
PIECES = "i < stash->count; i++) {"
HALF_DONE = "\tif (reason != REASON_OK)\n\t\tcheckpoint_finish(checkpoint, memory);\n"
# Each is one mistake that the fuzzer must find: where, the right text, and the wrong one.
MISTAKES = {
    "a page is not put back": ("stash.c", PIECES, PIECES.replace("i <", "i + 1 <")),
    "a page is not zeroed": ("stash.c", TAKEN, TAKEN.replace("i <", "i + 1 <")),
    "a page is not dropped": ("stash.c", "(frame, manifest->drop", "(frame, manifest->stash"),
    "extents cross pages": ("guest_memory.c", "bytes <= PAGE - offset", "bytes <= PAGE"),
    "holes are memory": ("guest_memory.c", "memory->is_ram(", "memory->end + memory->is_ram("),
    "the length is believed": ("manifest.c", "head->run_bytes != ", "0 && head->run_bytes != "),
    "the counts are believed": ("manifest.c", "drop != head->drop_pages", "0"),
    "a page is in both": ("manifest.c", "if (d & s)", "if (0)"),
    "fonts are blanked": ("screen.c", "i % PLANES <", "i % PLANES <="),
    "what is beyond the text is kept": ("screen.c", "at >= TEXT", "at > 2 * TEXT"),
    "the screen is not put back": ("checkpoint.c", "if (checkpoint->screen.pieces)", "if (0)"),
    "a half-done save is left so": ("checkpoint.c", HALF_DONE + "\treturn", "\treturn"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_fuzzer_finds_mistakes(mistake: str, tmp_path: Path) -> None:
    name, right, wrong = MISTAKES[mistake]
    pack = mistaken(tmp_path, f"host_service/extpack/{name}", right, wrong)
    subprocess.run(["make", "-s", "-C", pack, "fuzz-binary"], check=True)
    done = subprocess.run([pack / "fuzz", "1", str(CASES)], capture_output=True)
    assert done.returncode != 0
