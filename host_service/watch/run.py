"""Finds VMs as they come and go, and follows their saves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from host_service.errors import HostError
from host_service.watch import processes
from host_service.watch.probes import Probes
from host_service.watch.processes import VmProcess
from host_service.watch.saves import Follower, Save
from host_service.watch.steps import Event, Step
from host_service.watch.witness import Found, compare, find_file
from sparc.sav import c_pgm

__all__ = ["Progress", "Seen", "Watch"]

_LOOK_NS = 500_000_000


@dataclass(frozen=True)
class Seen:
    """A save that has ended, of a VM, in a `file` as its process names it, if it was found.

    `found` is what the witness says, where there is one.
    """

    vm: VmProcess
    save: Save
    file: str | None
    found: Found | None

    def as_json(self) -> dict[str, Any]:
        """A stable schema."""
        return {
            "vm": {"name": self.vm.name, "uuid": self.vm.uuid, "pid": self.vm.pid},
            **self.save.as_json(),
            "file": self.file,
            "verify": None if self.found is None else self.found.as_json(),
        }


@dataclass(frozen=True)
class Progress:
    """Of a save that is under way: pages of RAM that were written, and all that there are."""

    vm: str
    done: int
    total: int


@dataclass
class _Watched:
    vm: VmProcess
    follower: Follower = field(default_factory=Follower)
    files: set[str] = field(default_factory=set)
    strays: int = 0


class Watch:
    """Watches all VMs of this host, or the one called `vm`. As a context, ends with it.

    Attributes:
        troubles: what went wrong since the last look, as HostError.
    """

    def __init__(self, vm: str | None, *, witness: bool) -> None:
        self._vm = vm
        self._witness = witness
        self._events: list[Event] = []
        self._watched: dict[int, _Watched] = {}
        self._refused: set[tuple[int, int]] = set()
        self._looked = 0
        self.troubles: list[HostError] = []
        self._probes = Probes(self._events.append, witness=witness)
        self._find()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.close()
        for one in self._watched.values():
            one.vm.close()

    @property
    def vms(self) -> list[str]:
        """The names of those that are watched."""
        return sorted(one.vm.label for one in self._watched.values())

    def look(self, seconds: float) -> list[Seen]:
        """Wait so long at most; the saves that have ended meanwhile."""
        self._probes.poll(seconds)
        done = [seen for event in self._taken() for seen in self._step(event)]
        now = time.monotonic_ns()
        if now - self._looked > _LOOK_NS:
            done += self._gone()
            self._find()
        for one in self._watched.values():
            if one.follower.under_way:
                one.files |= one.vm.saving()
                done += self._over(one, one.follower.under_way)
            self._note_strays(one)
            done += [self._seen(one, save) for save in one.follower.late(now)]
        return done

    def end(self) -> list[Seen]:
        """The saves that had begun, as far as they were seen."""
        done = [seen for event in self._taken() for seen in self._step(event)]
        for one in self._watched.values():
            left = one.follower.cut_off("it was not watched to its end")
            done += [self._seen(one, save) for save in left]
        return done

    def progress(self) -> list[Progress]:
        """Of each save that is under way."""
        found = []
        for pid, one in self._watched.items():
            if one.follower.under_way:
                numbers, ram = self._probes.numbers(pid)
                found.append(Progress(one.vm.label, numbers.ram, ram // c_pgm.PAGE))
        return found

    def _taken(self) -> list[Event]:
        taken = self._events[:]
        self._events.clear()
        return taken

    def _step(self, event: Event) -> Iterator[Seen]:
        one = self._watched.get(event.pid)
        if one is None:
            return
        if event.step in (Step.SAVE, Step.TELEPORT):
            one.vm.identify()
            one.files = one.vm.saving()
        for save in one.follower.step(event):
            yield self._seen(one, save)

    def _over(self, one: _Watched, save: Save) -> list[Seen]:
        """A save has ended, and the step that says so was lost."""
        if self._probes.is_saving(save.pid):
            return []
        # Only now it is sure that there is no such step to come.
        self._probes.poll(0)
        done = [seen for event in self._taken() for seen in self._step(event)]
        numbers, _ = self._probes.numbers(save.pid)
        return done + [self._seen(one, over) for over in one.follower.over(save.number, numbers)]

    def _seen(self, one: _Watched, save: Save) -> Seen:
        file = find_file(one.vm, save, one.files)
        if not self._witness:
            return Seen(one.vm, save, file, None)
        written = self._probes.take_written(save.pid, save.number)
        return Seen(one.vm, save, file, compare(one.vm, save, file, written))

    def _note_strays(self, one: _Watched) -> None:
        strays = self._probes.strays(one.vm.pid)
        if strays and not one.strays:
            missed = "a save was not seen: it had begun before it was watched"
            self.troubles.append(HostError(missed, one.vm.label, "let it end, and save again"))
        one.strays = strays

    # -- processes

    def _find(self) -> None:
        """Watch those that have come."""
        self._looked = time.monotonic_ns()
        known = {(one.vm.pid, one.vm.started) for one in self._watched.values()}
        for vm in processes.find(known | self._refused):
            if self._vm is not None and not vm.is_called(self._vm):
                vm.close()
                continue
            try:
                self._probes.attach(vm)
            except HostError as error:
                self._refused.add((vm.pid, vm.started))
                vm.close()
                self.troubles.append(error)
                continue
            self._watched[vm.pid] = _Watched(vm)

    def _gone(self) -> list[Seen]:
        """Watch those no more that have ended; the saves that they have left."""
        done = []
        for pid, one in list(self._watched.items()):
            if processes.is_alive(one.vm):
                continue
            self._probes.poll(0)
            done += [seen for event in self._taken() for seen in self._step(event)]
            left = one.follower.cut_off("the VM's process ended in the middle of it")
            done += [self._seen(one, save) for save in left]
            del self._watched[pid]
            self._probes.detach(pid)
            one.vm.close()
        return done
