"""What was saved with the extension pack is restored where there is none."""

from __future__ import annotations

from sparc_lab import Lab

from tests.e2e.guarded import Guarded, residue
from tools.protect import uninstall_pack


def test_the_guest_finds_out_by_itself(guarded_lab: Lab, guarded: Guarded) -> None:
    seed = guarded.hold()
    restores = guarded.restores()
    path, report = guarded.checkpoint("saved", "vboxmanage")
    assert report["clean"]
    assert residue(path, seed) == {}
    guarded.machine.power_off()
    uninstall_pack(guarded_lab)
    guarded.machine.restore("saved")
    guarded.await_restored(restores + 1)
    assert guarded.holders_alive() == []
    guarded.check_survivors()
    guarded.check_kernel()
