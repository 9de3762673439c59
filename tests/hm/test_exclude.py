"""The main job where VirtualBox runs as it does for users: a kernel module, AMD-V, no window."""

from __future__ import annotations

import pytest
from sparc_lab.hm import HM_WAYS
from sparc_lab.vboxmanage import TREE

from host_service import extension_pack
from tests.e2e.faulty import Faulty
from tests.e2e.guarded import HOLDERS, residue
from tests.e2e.victims.programs import CLASSES


def test_it_runs_as_it_does_for_users(guarded: Faulty) -> None:
    machine = guarded.machine
    assert "AMD-V w/ nested paging" in guarded.log()
    assert machine.manage("getextradata", machine.name, "enumerate").count("VBoxInternal") == 0
    assert "vboxdrv" in machine.sandbox.run(TREE, ["cat", "/proc/modules"])
    assert extension_pack.NAME in machine.manage("list", "extpacks")
    assert "EnableLargePages    <integer> = 0x0000000000000001" in guarded.log()
    assert guarded.sh("nproc") == "2"
    assert "sparc" in guarded.sh("cut -d' ' -f1 /proc/modules").split()


def test_without_exclusion_every_secret_is_there(guarded: Faulty) -> None:
    """Else the tests that find none would prove nothing."""
    seed = guarded.hold(excluded=False, scrub=False)
    path, report = guarded.checkpoint("plain", "vboxmanage")
    guarded.end_holders()
    assert (report["clean"], report["reason"]) == (True, "nothing-excluded")
    assert set(residue(path, seed)) == set(CLASSES)


@pytest.mark.parametrize("way", HM_WAYS)
def test_an_excluded_process_is_in_no_checkpoint(guarded: Faulty, way: str) -> None:
    seed = guarded.hold()
    restores = guarded.restores()
    path, report = guarded.checkpoint(way, way)
    assert residue(path, seed) == {}
    assert (report["clean"], report["reason"], report["saved"]) == (True, "ok", True), report
    if way != "savestate":
        assert len(guarded.holders_alive()) == len(HOLDERS)
        guarded.check_survivors(*HOLDERS)
    guarded.machine.restore(way)
    guarded.await_restored(restores + 1)
    assert guarded.holders_alive() == []
    guarded.check_survivors()
    guarded.check_kernel()
