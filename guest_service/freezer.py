"""Everybody else stands still: with the freezer of control groups version 2.

A group in which the service itself is cannot be frozen, and neither can the root. So the groups
beside the path from the root down to the service's own are frozen, and the processes in the groups
of that path are moved into one made for them, HOLD. With systemd those are few or none, and
each goes back to where it was. Without, it is everybody; there they stay in HOLD while the service
runs, so that freezing is one write.

A record on disk says what was frozen and moved, before it is: the next instance undoes it if this
one is killed. (The module thaws at once, but moves nobody.)
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time

from guest_service import cgroups, processes
from guest_service.cgroups import Group
from guest_service.kernel_threads import KernelThreads
from guest_service.processes import Process
from guest_service.record import Record, put_back

TYPE_CHECKING = False
if TYPE_CHECKING:  # Importing typing or collections.abc for this costs a second in a small guest.
    from collections.abc import Callable

__all__ = ["Freezer", "NotFrozen"]

_HOLD = "sparc-frozen"
# Tries to empty HOLD, where somebody may be forking or dying all the while; seconds between them.
_TURNS = 50
_PAUSE = 0.01
# How often, in the time for freezing, it is looked who does not freeze.
_LOOKS = 8
_FIRST_PAUSE = 0.01


class NotFrozen(Exception):
    """Not everybody stands still: because of process `pid`, or 0 where that is not known."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self.pid = pid


def _unused(fd: int) -> None: ...


class Freezer:
    """Freezes all but this process, from the group `root` (its path) down.

    `keep`: who was moved out of the root stays in HOLD; for guests in which nobody else keeps
    order there. `hand_over` gets the descriptor of each cgroup.freeze before 1 is written to it.
    `mount`: where the hierarchy is mounted, if `root` is a group further down.
    """

    def __init__(
        self,
        root: str,
        record: Record,
        *,
        keep: bool,
        hand_over: Callable[[int], None] = _unused,
        mount: str | None = None,
    ) -> None:
        self._root = root
        self._mount = root if mount is None else mount
        self._hold = f"{root}/{_HOLD}"
        self._record = record
        self._keep = keep
        self._hand_over = hand_over
        self._own_pid = os.getpid()
        self._kernel_threads = KernelThreads()
        self._groups: dict[str, Group] = {}
        self._frozen: list[Group] = []
        self._moved: list[tuple[int, int, str]] = []

    def prepare(self) -> None:
        """Undo what an earlier instance left, and do beforehand what need not be done in haste."""
        origins = self._record.undo(self._root)
        if self._own() == self._hold:
            cgroups.move(self._own_pid, self._root)
        if self._keep:
            self._open_hold().thaw()
            tried: set[int] = set()
            while self._gather(tried):
                pass
        else:
            self._empty_hold(origins)
        path = self._path()
        for group in path:
            self._kernel_threads.others(cgroups.members(group))
        for beside in self._beside(path):
            self._open(beside)

    def freeze(self, seconds: float) -> None:
        """Freeze all others; returns when all stand still. `thaw` must follow, in every case.

        Raises NotFrozen: not within so many seconds.
        """
        deadline = time.monotonic() + seconds
        path = self._path()
        # What is known already goes first: then nobody is left who could make new groups.
        batch = [group for group in self._groups.values() if group.path not in path]
        tried: set[int] = set()
        while True:
            batch = self._begin(batch)
            self._wait(self._frozen + batch, seconds, deadline)
            moved = self._gather(tried, freeze=True)
            batch = [
                group
                for group in map(self._open, self._beside(path))
                if group and group not in self._frozen and not group.still
            ]
            if not batch and not moved:
                return
            if time.monotonic() > deadline:
                raise NotFrozen(0)

    def thaw(self) -> None:
        """Let all go, and those that were moved back to where they were."""
        try:
            for pid, start, origin in self._moved:
                put_back(pid, start, origin, self._root)
        finally:
            self._moved.clear()
            for group in self._frozen:
                group.thaw()
            self._frozen.clear()
        self._record.clear()
        if not self._keep and self._hold in self._groups:
            self._empty_hold({})

    def close(self) -> None:
        """Leave no trace: HOLD goes, and who was in it is in the root again."""
        self.thaw()
        self._empty_hold({})
        self._kernel_threads.close()
        for group in list(self._groups.values()):
            self._forget(group)

    # -- groups

    def _own(self) -> str:
        path = processes.cgroup_of(self._own_pid) or "/"
        return f"{self._mount}{path}".rstrip("/")

    def _path(self) -> list[str]:
        """The groups from the root down to that of the service."""
        path = [self._root]
        for name in self._own().removeprefix(self._root).split("/")[1:]:
            path.append(f"{path[-1]}/{name}")
        return path

    def _beside(self, path: list[str]) -> list[str]:
        return [group for parent in path for group in cgroups.children(parent) if group not in path]

    def _open(self, path: str) -> Group | None:
        """A group, opened once; None if it is gone meanwhile."""
        group = self._groups.get(path)
        if group is not None and not group.gone:
            return group
        if group is not None:
            self._forget(group)
        try:
            self._groups[path] = Group(path)
        except OSError:
            return None
        return self._groups[path]

    def _forget(self, group: Group) -> None:
        if self._groups.pop(group.path, None) is group:
            group.close()

    def _open_hold(self) -> Group:
        os.makedirs(self._hold, exist_ok=True)
        group = self._open(self._hold)
        if group is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._hold)
        return group

    # -- freezing

    def _begin(self, batch: list[Group]) -> list[Group]:
        """Tell groups to freeze; those that are left. What others froze, others may thaw."""
        left, ours = [], []
        for group in batch:
            if group.gone:
                self._forget(group)
                continue
            left.append(group)
            if not group.told_to_freeze:
                ours.append(group)
        self._record.freezing([group.path for group in ours])
        for group in ours:
            self._hand_over(group.freeze_file)
            self._frozen.append(group)
            with contextlib.suppress(OSError):  # gone, and nobody was in it
                group.freeze()
        return left

    def _wait(self, groups: list[Group], seconds: float, deadline: float) -> None:
        poll = select.poll()
        moving = {group.events_file: group for group in groups if not group.still}
        for fd in moving:
            poll.register(fd, select.POLLPRI)
        pause, look = _FIRST_PAUSE, time.monotonic() + seconds / _LOOKS
        while moving:
            # The kernel now and then forgets to tell (seen on 6.1 and 6.18): so not for ever.
            poll.poll(pause * 1000)
            pause = min(2 * pause, seconds / _LOOKS)
            for fd in [fd for fd, group in moving.items() if group.still]:
                poll.unregister(fd)
                del moving[fd]
            now = time.monotonic()
            if moving and now >= min(look, deadline):
                look = now + seconds / _LOOKS
                # The kernel never calls a group frozen that has one of its own threads in it.
                culprits = _running([group.path for group in moving.values()])
                if not culprits:
                    return
                if now >= deadline:
                    raise NotFrozen(culprits[0].pid)

    # -- moving

    def _gather(self, tried: set[int], *, freeze: bool = False) -> bool:
        """Move who is in a group of the service's path into HOLD; whether there was anybody."""
        strays = [
            (process, path)
            for path in self._path()
            for process in self._kernel_threads.others(cgroups.members(path))
            if process.pid != self._own_pid
            # A leader that has ended stays listed where it was while its threads live on in HOLD.
            and not (process.state == "Z" and process.pid in tried)
        ]
        if not strays:
            return False
        hold = self._open_hold()
        if freeze and hold not in self._frozen:
            # Frozen before it is filled: who comes in cannot fork any more.
            self._begin([hold])
        for process, path in strays:
            tried.add(process.pid)
            if not (self._keep and path == self._root):
                self._record.moving(process.pid, process.start, path)
                self._moved.append((process.pid, process.start, path))
            try:
                cgroups.move(process.pid, self._hold)
            except OSError:
                raise NotFrozen(process.pid) from None
        return True

    def _empty_hold(self, origins: dict[int, str]) -> None:
        """Remove HOLD. Who is still in it came from the root, or was born to one who was moved."""
        for _ in range(_TURNS):
            for pid in cgroups.members(self._hold):
                process = processes.read(pid)
                if process is not None:
                    origins[pid] = origins.get(process.parent, self._root)
                    put_back(pid, process.start, origins[pid], self._root)
            try:
                os.rmdir(self._hold)
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(_PAUSE)


def _running(paths: list[str]) -> list[Process]:
    """The threads in groups and below them that do not stand still: stuck ones first.

    One that is to freeze is woken for it, so who sleeps now has done so.
    """
    found = []
    waiting = list(paths)
    while waiting:
        path = waiting.pop()
        waiting += cgroups.children(path)
        for thread in map(processes.read, cgroups.members(path, "cgroup.threads")):
            if thread is not None and thread.state in "DR" and not thread.is_kernel_thread:
                found.append(thread)
    return sorted(found, key=lambda thread: thread.state)
