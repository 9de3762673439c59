"""Rounds of random programs in a guest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparc_lab import Lab, QemuMachine

from tests.guest.protected import Protected
from tools.protect import compile_for_guests

__all__ = ["EXCLUDED", "Herd", "Program", "draw"]

_SOURCES = [Path(__file__).parent / "programs" / name for name in ("wanderer.c", "areas.c")]
_SETUP = """
mkdir -p /run/wander; echo 40 2>/dev/null >/proc/sys/vm/nr_hugepages
# Else each of them counts for as much as all that the tests do, however nice it is.
echo 0 2>/dev/null >/proc/sys/kernel/sched_autogroup_enabled
{ cd /sys/kernel/mm/ksm && echo 200 >pages_to_scan && echo 1 >run; } 2>/dev/null
true
"""
_START = """
set -e
rm -f /run/wander/*
# They are not to slow down who starts and excludes them.
start() {
  for seed; do setsid nice -n 19 /root/wanderer $name $seed >/dev/null 2>&1 </dev/null & done
}
"""
_READY = """
touch /run/wander/go
for seed in {seeds}; do
  until_true "[ -e /run/wander/$seed.ready ]" || exit
done
"""
_END = "for name in insider late letgo outsider; do pkill -9 -x $name; done; true"

EXCLUDED = ("insider", "late")
"""What the processes that are to be kept out call themselves."""

_FEW_OUTSIDERS, _FEW_BORDERS = 8, 2


@dataclass(frozen=True)
class Program:
    """A wanderer. `name`: what its processes call themselves, ``from/to`` across a border."""

    name: str
    seed: int

    def fate(self, side: int, number: int) -> str:
        """``excluded``, ``outside``, or ``common``: written by what both sides come from."""
        first, _, across = self.name.partition("/")
        if across in EXCLUDED and side == 0:
            return "outside"
        if across and first in EXCLUDED and (side, number) == (0, 0):
            return "common"
        return "excluded" if (across if side == 2 else first) in EXCLUDED else "outside"


def draw(seed: int, excluded: int) -> list[Program]:
    """The programs of a round, `excluded` of them to be kept out as a whole or in part."""
    dice = random.Random(seed)
    names = ["insider/letgo", "outsider/late"] * _FEW_BORDERS
    names += ["late"] * (excluded // 3)
    names += ["insider"] * (excluded - len(names)) + ["outsider"] * _FEW_OUTSIDERS
    return [Program(name, dice.randrange(1, 1 << 31)) for name in names]


class Herd(Protected):
    """A guest with the service, and programs in it."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str) -> None:
        super().__init__(lab, machine, kernel)
        machine.put(compile_for_guests(lab, *_SOURCES), "/root/wanderer")
        self.ok(_SETUP)

    def run(self, programs: Sequence[Program]) -> None:
        """Start them and exclude those that are to be: at their beginning, or at their end."""
        script = [_START]
        for name in sorted({program.name for program in programs}):
            seeds = (str(program.seed) for program in programs if program.name == name)
            script.append(f"name={name}; start {' '.join(seeds)}")
        script.append("sleep 0.3; sparc exclude --name insider")
        script.append(_READY.format(seeds=" ".join(str(program.seed) for program in programs)))
        # 1: one of them ended before its turn came.
        for order in ("exclude --name late", "include --name letgo"):
            script.append(f"sparc {order} || [ $? = 1 ]")
        # Time for those that go on to write across the border.
        script.append("sleep 0.5")
        self.ok("\n".join(script))

    def end(self) -> None:
        """End the programs of the round."""
        self.ok(_END)
