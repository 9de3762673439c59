"""What was saved with hardware virtualisation goes on without, and the other way round."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

from sparc_lab import Lab, Settings
from sparc_lab.vboxmanage import PORTABLE
from sparc_lab.virtualbox import STORED

from tests.e2e.guarded import Guarded, prepare, residue
from tools.protect import install_pack

_ORDER = ("hm", "virtualbox", "hm")


def test_a_restore_in_the_other_mode(lab: Lab, tmp_path: Path) -> None:
    """Excluded programs are dead there, and all others go on."""
    sizes = [Settings(f"{mode}-{n}", mode, memory=256) for n, mode in enumerate(_ORDER)]
    folders = [tmp_path / size.name for size in sizes]
    for folder in folders:
        folder.mkdir()
    prepare(lab, sizes[0], folders[0], PORTABLE)
    for (one, other), (before, after) in zip(pairwise(sizes), pairwise(folders), strict=True):
        with _guarded(lab, one, before) as guarded:
            seed = guarded.hold()
            restores = guarded.restores()
            guarded.machine.store(after)
        assert residue(after / STORED[0], seed) == {}
        with _guarded(lab, other, after) as guarded:
            guarded.await_restored(restores + 1)
            assert guarded.holders_alive() == []
            guarded.check_survivors()
            guarded.check_kernel()


def _guarded(lab: Lab, size: Settings, stored: Path) -> AbstractContextManager[Guarded]:
    # With its last machine the lab has lost the pack.
    install_pack(lab)
    return Guarded.up(lab, size, stored, PORTABLE)
