"""The main job on the real VirtualBox: excluded processes are in no checkpoint, others unharmed."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from sparc_lab import Lab, LabError, Settings

from sparc.abi import Reason
from sparc.sav.core import segments
from tests.e2e.conftest import WAYS
from tests.e2e.guarded import HOLDERS, Guarded, residue
from tests.e2e.victims.programs import CLASSES

_OTHER = Settings("other", "virtualbox", memory=1024)


def test_without_exclusion_every_secret_is_there(guarded: Guarded) -> None:
    """Else the tests that find none would prove nothing."""
    seed = guarded.hold(excluded=False, scrub=False)
    path, report = guarded.checkpoint("plain", "vboxmanage")
    guarded.end_holders()
    assert (report["clean"], report["reason"]) == (True, "nothing-excluded")
    assert set(residue(path, seed)) == set(CLASSES)


@pytest.mark.parametrize("way", WAYS)
def test_an_excluded_process_is_in_no_checkpoint(guarded: Guarded, way: str) -> None:
    seed = guarded.hold()
    restores = guarded.restores()
    path, report = guarded.checkpoint(way, way)
    assert residue(path, seed) == {}
    assert (report["clean"], report["reason"], report["saved"]) == (True, "ok", True), report
    if way != "savestate":
        pids = guarded.holders_alive()
        assert len(pids) == len(HOLDERS)
        assert {one["pid"] for one in report["excluded"]} == set(pids)
        guarded.check_survivors(*HOLDERS)
    assert report["kinds"]["anon"]["pages"] > 0
    assert report["kinds"]["registers"]["bytes"] > 0

    guarded.machine.restore(way)
    guarded.await_restored(restores + 1)
    assert guarded.holders_alive() == []
    guarded.check_survivors()
    guarded.check_kernel()


def test_memory_is_the_same_after_the_save(guarded: Guarded, tmp_path: Path) -> None:
    """But for free memory, which is left as zeros."""
    guarded.hold(scrub=False)
    machine = guarded.machine
    machine.pause()
    before, after = tmp_path / "before", tmp_path / "after"
    machine.core(before)
    _, report = guarded.checkpoint("paused", "vboxmanage")
    machine.core(after)
    machine.resume()
    changed, changed_to_zero = _changed_pages(before, after)
    assert report["clean"]
    assert changed == changed_to_zero
    assert 0 < changed <= report["pages"]["drop"]
    guarded.check_survivors(*HOLDERS)
    guarded.end_holders()


def _changed_pages(before: Path, after: Path) -> tuple[int, int]:
    """How many pages of two cores of the same machine differ; how many of them are zero after."""
    changed = zero = 0
    for old, new in zip(segments(before), segments(after), strict=True):
        assert (old.address, old.size) == (new.address, new.size)
        pages = [
            numpy.memmap(path, numpy.uint64, "r", one.offset, (one.size // 4096, 512))
            for path, one in ((before, old), (after, new))
        ]
        differ = (pages[0] != pages[1]).any(axis=1)
        changed += int(differ.sum())
        zero += int((~pages[1][differ].any(axis=1)).sum())
    return changed, zero


def test_strict_refuses_what_cannot_be_clean(guarded: Guarded) -> None:
    """The service is dead: no snapshot, no file, a message, and the machine goes on."""
    guarded.hold()
    folder = guarded.machine.folder / "Snapshots"
    before = set(folder.glob("*.sav"))
    guarded.sh("kill -9 $(cat /run/sparc-guestd.pid)")
    with pytest.raises(LabError, match="VERR_VM_SAVE_STATE_NOT_ALLOWED"):
        guarded.machine.checkpoint("refused", "vboxmanage")
    assert set(folder.glob("*.sav")) == before
    assert "refused" not in guarded.machine.checkpoints()
    log = (guarded.machine.folder / "Logs/VBox.log").read_text(errors="replace")
    assert "sparc-guestd does not run in it" in log
    guarded.check_survivors(*HOLDERS)


def test_warn_takes_it_and_says_that_it_is_not_clean(guarded: Guarded) -> None:
    """Follows the test above: the service is still dead, the holder still excluded."""
    guarded.extra_data("Policy", "warn")
    try:
        _, report = guarded.checkpoint("warned", "vboxmanage")
    finally:
        guarded.extra_data("Policy", "")
    assert (report["clean"], report["saved"]) == (False, True)
    assert report["guest_reason"] == Reason.NO_SERVICE.name.lower().replace("_", "-")
    guarded.check_survivors(*HOLDERS)
    guarded.sh("/etc/init.d/sparc-guestd start", 600)
    guarded.end_holders()


@pytest.mark.long
def test_each_of_two_machines_is_protected_by_itself(
    guarded_lab: Lab, guarded: Guarded, stored: Path
) -> None:
    with Guarded.up(guarded_lab, _OTHER, stored) as other:
        seeds = guarded.hold(), other.hold()
        first, report = guarded.checkpoint("one", "vboxmanage")
        second, report_of_other = other.checkpoint("two", "live")
        assert report["clean"] and report_of_other["clean"]
        assert residue(first, seeds[0]) == residue(second, seeds[1]) == {}
        other.check_survivors(*HOLDERS)
        guarded.check_survivors(*HOLDERS)
