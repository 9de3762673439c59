"""Many checkpoints in a row, and many restores: nothing is lost and nothing grows.

`make endurance` takes 50 and 20; the ordinary run, which has less time, fewer.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.guarded import HOLDERS, Guarded, residue

_CHECKPOINTS, _RESTORES = map(int, os.environ.get("SPARC_ENDURANCE", "6,2").split(","))
pytestmark = pytest.mark.long
# After the first ones, all caches are warm; what grows from then on is a leak.
_WARM = 3
_SLACK_KB = {"Slab": 4096, "VmallocUsed": 512, "service": 2048, "machine": 65536}


def _sizes(guarded: Guarded) -> dict[str, int]:
    """KB of the guest's kernel, its service, and the process that runs the machine."""
    script = """
        grep -E '^(Slab|VmallocUsed):' /proc/meminfo | tr -d ':'
        echo service $(grep VmRSS /proc/$(cat /run/sparc-guestd.pid)/status)
    """
    lines = [line.split() for line in guarded.sh(script).splitlines()]
    sizes = {line[0]: int(line[-2]) for line in lines}
    process = guarded.machine.recorded("vm")
    assert process is not None
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (resident,) = (line.split()[1] for line in status if line.startswith("VmRSS"))
    return {**sizes, "machine": int(resident)}


def test_checkpoints_in_a_row(guarded: Guarded) -> None:
    seed = guarded.hold()
    guarded.check_survivors(*HOLDERS)
    before: dict[str, int] = {}
    for number in range(_CHECKPOINTS):
        path, report = guarded.checkpoint(f"row{number}", "vboxmanage")
        assert report["clean"] and report["reason"] == "ok", report
        if number in (0, _CHECKPOINTS - 1):
            assert residue(path, seed) == {}
        if number == min(_WARM, _CHECKPOINTS - 2):
            before = _sizes(guarded)
        if number < _CHECKPOINTS - 1:
            # All but the last; a chain of snapshots is not what is tried here.
            guarded.machine.manage("snapshot", guarded.machine.name, "delete", f"row{number}")
    after = _sizes(guarded)
    grown = {name: after[name] - before[name] for name in after}
    assert {name: size for name, size in grown.items() if size > _SLACK_KB[name]} == {}
    guarded.check_survivors(*HOLDERS)
    guarded.check_kernel()


def test_restores_in_a_row(guarded: Guarded) -> None:
    """Of a checkpoint that was taken in a restored machine, each time."""
    name = f"row{_CHECKPOINTS - 1}"
    for number in range(_RESTORES):
        guarded.machine.restore(name)
        guarded.await_restored(1 if number == 0 else 2)
        assert guarded.holders_alive() == []
        guarded.check_survivors()
        guarded.check_kernel()
        if number == 0 and _RESTORES > 1:
            guarded.hold()
            name = "again"
            _, report = guarded.checkpoint(name, "vboxmanage")
            assert report["clean"], report
