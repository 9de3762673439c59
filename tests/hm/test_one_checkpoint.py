"""One checkpoint and one restore, in a few minutes: the rest of this folder takes longer."""

from __future__ import annotations

from sparc_lab import Lab, Settings, VirtualBoxMachine

from tests.e2e.guarded import HOLDERS, Guarded, furnish, residue


def test_an_excluded_process_is_in_no_checkpoint(guarded_lab: Lab) -> None:
    machine = guarded_lab.up(Settings("one", "hm", memory=256))
    try:
        assert isinstance(machine, VirtualBoxMachine)
        furnish(guarded_lab, machine)
        guarded = Guarded(guarded_lab, machine)
        seed = guarded.hold(excluded=False)
        path, report = guarded.checkpoint("plain", "vboxmanage")
        guarded.end_holders()
        assert report["reason"] == "nothing-excluded"
        assert {"heap", "stack", "registers"} <= set(residue(path, seed))

        seed = guarded.hold()
        path, report = guarded.checkpoint("one", "vboxmanage")
        assert residue(path, seed) == {}
        assert (report["clean"], report["reason"], report["saved"]) == (True, "ok", True), report
        assert len(guarded.holders_alive()) == len(HOLDERS)
        machine.restore("one")
        guarded.await_restored(1)
        assert guarded.holders_alive() == []
        guarded.check_survivors()
        guarded.check_kernel()
    finally:
        guarded_lab.down(machine.name)
