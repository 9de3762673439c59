"""The steps of a soak, and what must hold after each."""

from __future__ import annotations

import collections
import contextlib
import json
import random
import time
from pathlib import Path

import pytest
from sparc_lab import LabError
from sparc_lab.virtualbox import CHECKPOINT_WAYS

from tests.e2e.faulty import Faulty
from tests.e2e.guarded import HOLDERS, residue
from tests.e2e.victims.programs import CLASSES, TORTURE_CLASSES

__all__ = ["Soak"]

_MOST_CHECKPOINTS = 6


class Soak(Faulty):
    """A machine to which things happen. ``done``: how often each did."""

    def begin(self, dice: random.Random) -> None:
        """From here on, the dice say what happens."""
        self._dice = dice
        self.done: collections.Counter[str] = collections.Counter()
        # The seeds of what is held in the machine now.
        self._held: dict[int, tuple[str, ...]] = {}
        self._number = 0
        self._hold()
        self._checkpoint()

    def step(self) -> None:
        """Do something, and check that all is as it should be."""
        steps = {
            self._hold: 2,
            self._torture: 1,
            self._checkpoint: 6,
            self._pause: 1,
            self._restore: 3,
            self._no_room: 1,
            self._cancel: 1,
            self._at_once: 1,
            self._stand_still: 1,
            self._no_service: 1,
            self._die: 1,
        }
        (step,) = self._dice.choices(list(steps), list(steps.values()))
        name = step.__name__.strip("_")
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        step()
        self.done[name] += 1
        assert self.machine.state() == "running"
        self.check_survivors(*(HOLDERS if CLASSES in self._held.values() else ()))
        self.check_kernel()

    # -- what the guest's users do

    def _hold(self) -> None:
        self.end_holders()
        self._held = {seed: what for seed, what in self._held.items() if what != CLASSES}
        self._held[self.hold()] = CLASSES

    def _torture(self) -> None:
        self.end_torture()
        self._held = {seed: what for seed, what in self._held.items() if what == CLASSES}
        self._held[self.torture("first")] = TORTURE_CLASSES

    # -- what the host's users do

    def _take(self, way: str) -> str:
        self._number += 1
        name = f"soak {self._number}"
        path, report = self.checkpoint(name, way)
        self._check(path, clean=bool(report["clean"]))
        if way == "savestate":
            # The machine is off with its state saved, and goes on from there.
            self.machine.restore(name)
            self._was_restored()
        return name

    def _check(self, path: Path, *, clean: bool) -> None:
        self.done["checkpoints"] += 1
        assert clean
        for seed, classes in self._held.items():
            left = residue(path, seed, classes)
            self.done["residues"] += len(left)
            assert left == {}

    def _checkpoint(self) -> None:
        self._take(self._dice.choice(CHECKPOINT_WAYS))
        taken = list(self.machine.checkpoints())
        if len(taken) > _MOST_CHECKPOINTS:
            # VirtualBox deletes none with more than one child.
            with contextlib.suppress(LabError):
                name = self._dice.choice(taken)
                self.machine.manage("snapshot", self.machine.name, "delete", name)

    def _pause(self) -> None:
        self.machine.pause()
        if self._dice.random() < 0.5:
            self._take("vboxmanage")
        self.machine.resume()

    def _restore(self) -> None:
        self.machine.restore(self._dice.choice(list(self.machine.checkpoints())))
        self._was_restored()

    def _was_restored(self) -> None:
        self.done["restores"] += 1
        # It has been told of one more than the checkpoint knows of, at least of one.
        self.await_restored(1)
        script = "for turn in $(seq 50); do pgrep -x 'holder|torture' || exit 0; sleep 0.2; done"
        assert self.sh(script).split() == []
        self._held = {}

    # -- what goes wrong

    def _no_room(self) -> None:
        # One that cannot be written at all makes VirtualBox 7.2.22 forget the machine's disks.
        with self.small_disk(), pytest.raises(LabError):
            self.machine.checkpoint("no room", "vboxmanage")

    def _cancel(self) -> None:
        self._number += 1
        name = f"soak {self._number}"
        if not self.cancel(name):
            self._check(self.machine.saved_state(name), clean=bool(self.last_report()["clean"]))

    def _at_once(self) -> None:
        self._number += 1
        names = [f"soak {self._number}.{n}" for n in range(2)]
        asked = [self.command("snapshot", self.machine.name, "take", name) for name in names]
        for process in asked:
            process.communicate(timeout=300)
        taken = [name for name in names if name in self.machine.checkpoints()]
        assert taken
        for name in taken:
            path = self.machine.saved_state(name)
            report = json.loads(path.with_name(path.stem + ".sparc.json").read_text())
            self._check(path, clean=report["clean"])

    def _stand_still(self) -> None:
        self._number += 1
        name = f"soak {self._number}"
        process = self.command("snapshot", self.machine.name, "take", name)
        time.sleep(self._dice.uniform(0, 8))
        with self.process.held_still():
            time.sleep(self._dice.uniform(1, 15))
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        self._check(self.machine.saved_state(name), clean=bool(self.last_report()["clean"]))

    def _no_service(self) -> None:
        """Killed, also in the middle of its work: refused, or it was over by then."""
        self.sh("(sleep $(($RANDOM % 6)); kill -9 $(cat /run/sparc-guestd.pid)) >/dev/null 2>&1 &")
        time.sleep(self._dice.uniform(0, 8))
        self._number += 1
        name = f"soak {self._number}"
        try:
            path, report = self.checkpoint(name, "vboxmanage")
        except LabError:
            assert name not in self.machine.checkpoints()
        else:
            self._check(path, clean=bool(report["clean"]))
        time.sleep(6)
        self.sh("/etc/init.d/sparc-guestd start", 600)

    def _die(self) -> None:
        for path in self.kill_while_saving():
            for seed, classes in self._held.items():
                assert residue(path, seed, classes, whole=False) == {}
        self._restore()
