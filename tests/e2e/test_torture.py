"""Everything in which a process can leave something, on the real VirtualBox."""

from __future__ import annotations

import os

from sparc_lab.virtualbox import CHECKPOINT_WAYS

from tests.e2e.guarded import Guarded, residue
from tests.e2e.victims.programs import CONTROL_RUNS, LET_GO_BEFORE, MAY_BE_GONE, TORTURE_CLASSES

# Runs, restores, and rounds of other activity: `make endurance` does more of each.
_RUNS, _RESTORES, _ROUNDS = map(int, os.environ.get("SPARC_TORTURE_RUNS", "1,1,100").split(","))
# So many must be there on any kernel.
_LEAST = 40


def test_without_exclusion_every_secret_is_there(guarded: Guarded) -> None:
    """Else the tests that find none would prove nothing."""
    found = set(MAY_BE_GONE)
    for run in range(CONTROL_RUNS):
        seed = guarded.torture("none")
        planted = guarded.planted() | MAY_BE_GONE
        path, _ = guarded.checkpoint(f"bare{run}", "vboxmanage")
        guarded.end_torture()
        found |= set(residue(path, seed, TORTURE_CLASSES))
        if found == planted:
            break
    assert len(planted) >= _LEAST
    assert found == planted


def test_with_exclusion_none_is(guarded: Guarded) -> None:
    """At once, and after others have used the machine; excluded early and late."""
    for run in range(_RUNS):
        when = "first" if run % 2 == 0 else "late"
        seed = guarded.torture(when)
        if run >= _RUNS // 2:
            guarded.sh(f"/root/churn {_ROUNDS}", 600)
        path, report = guarded.checkpoint(f"run{run}", CHECKPOINT_WAYS[run % 2])
        assert report["clean"], report
        known = LET_GO_BEFORE if when == "late" else set()
        assert set(residue(path, seed, TORTURE_CLASSES)) <= known
        assert guarded.torture_verdict(ask=True) == "ok"
        guarded.end_torture()
    guarded.check_survivors()
    guarded.check_kernel()


def test_after_a_restore_the_others_go_on(guarded: Guarded) -> None:
    """They see an end of what they shared with the excluded one, and never zeros."""
    for number in range(_RESTORES):
        guarded.torture("first")
        guarded.checkpoint(f"restored{number}", "vboxmanage")
        restores = guarded.restores()
        guarded.machine.restore(f"restored{number}")
        guarded.await_restored(restores + 1)
        assert guarded.torture_verdict() == "ok"
        guarded.check_survivors()
        guarded.check_kernel()
        guarded.check_terminals()
    guarded.check_disk()
