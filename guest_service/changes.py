"""Excluding and including, process by process: what may be done, and that it met the right one."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time

from guest_service import processes
from guest_service.device import Taken
from guest_service.targets import Targets

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Callable

    _Act = Callable[[int], Taken]
    _Reply = dict[str, object]

__all__ = ["Caller", "Changes", "about"]

# While init or the service starts a program, it shares its memory with it.
_SHARED_TRIES = 20
_SHARED_PAUSE = 0.05


class Caller:
    """Who sent a request, as the kernel says. `files`: descriptors that came with it."""

    __slots__ = ("files", "pid", "uid")

    def __init__(self, pid: int, uid: int, files: tuple[int, ...] = ()) -> None:
        self.pid = pid
        self.uid = uid
        self.files = files

    def may(self, uids: tuple[int, ...]) -> bool:
        """Whether a process of these ids (real, effective, saved, file system) is theirs."""
        return self.uid == 0 or all(uid == self.uid for uid in uids)


class _Refused(Exception):
    """It cannot be done to this process: the code of the failure."""

    def __init__(self, code: str, number: int | None = None) -> None:
        super().__init__(code, number)
        self.code = code
        self.number = number


class Changes:
    """Doing one thing to all targets of a request, and noting how it went.

    For an include: `repair` undoes it where it met the wrong process, which must not stay so, and
    `before` is who was excluded when it began.
    """

    def __init__(
        self,
        targets: Targets,
        caller: Caller,
        act: _Act,
        repair: _Act | None = None,
        before: frozenset[int] = frozenset(),
    ) -> None:
        self._targets = targets
        self._caller = caller
        self._act = act
        self._repair = repair
        self._before = before
        self._tried: set[int] = set()
        self._unmatched = targets.selectors()
        self.done: list[_Reply] = []
        self._failed: list[_Reply] = targets.missing()
        self.reached: list[tuple[int, int]] = []

    def do_selected(self, pids: list[int]) -> bool:
        """Do it to those of `pids` that the request selects; whether there were any."""
        found = self._targets.among(pids)
        matched = {why for reasons in found.values() for why in reasons}
        self._unmatched = [why for why in self._unmatched if why not in matched]
        return self._do_found(list(found))

    def do_peers(self, peers: list[_Reply]) -> bool:
        """Do it to those whom others led to: entries with `pid`, which tell `through` what."""
        told = {int(str(entry["pid"])): entry["through"] for entry in peers}
        fresh = self._do_found(list(told))
        for entry in self.done:
            if entry["pid"] in told:
                entry["through"] = told[int(str(entry["pid"]))]
        return fresh

    def _do_found(self, pids: list[int]) -> bool:
        """Do it to those whom nobody named: one that has ended by now is not missed."""
        failed = len(self._failed)
        fresh = self.do(pids)
        self._failed[failed:] = [
            entry for entry in self._failed[failed:] if entry["error"] != "no-process"
        ]
        return fresh

    def do(self, pids: list[int]) -> bool:
        """Do it to each; whether there was anybody new."""
        fresh = [pid for pid in dict.fromkeys(pids) if pid not in self._tried]
        for pid in fresh:
            self._tried.add(pid)
            process = processes.read(pid)
            try:
                if process is None:
                    raise _Refused("no-process")
                told = about(pid, process.name)
                taken = self._change(process)
            except _Refused as refused:
                name = processes.clean(process.name) if process else ""
                failure: _Reply = {"error": refused.code, "pid": pid, "name": name}
                if refused.number is not None:
                    failure["errno"] = refused.number
                self._failed.append(failure)
                continue
            self.reached.append((pid, process.start))
            self.done.append(
                {
                    **told,
                    "processes": taken.processes,
                    "sharers": taken.sharers,
                    "swap_pages": taken.swap_pages,
                    "shmem_pages": taken.shmem_pages,
                }
            )
        return bool(fresh)

    def _change(self, process: processes.Process) -> Taken:
        """Do it to one process, and to no other one that gets its number meanwhile.

        Raises _Refused.
        """
        pid = process.pid
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            raise _Refused("no-process") from None
        try:
            # Read again, now that the pidfd holds on to it: its number may have been reused before.
            now, uids = processes.read(pid), processes.uids_of(pid)
            if now is None or uids is None or now.start != process.start or not _lives(pidfd):
                raise _Refused("no-process")
            if now.is_kernel_thread:
                raise _Refused("kernel-thread")
            if pid == 1:
                raise _Refused("init")
            if pid == os.getpid():
                raise _Refused("service")
            if not self._caller.may(uids):
                raise _Refused("not-yours")
            try:
                taken = _ask(self._act, pid)
            except ProcessLookupError:
                if self._repair is None or not _lives(pidfd):
                    raise _Refused("no-process") from None
                if pid not in self._before:
                    raise _Refused("not-excluded") from None
                taken = Taken(0, 0, 0, 0)  # it came along with another one
            # If it died before the ioctl, that met nobody, or whoever got its number just then.
            if not _lives(pidfd):
                if self._repair is not None:
                    with contextlib.suppress(OSError):
                        self._repair(pid)
                raise _Refused("no-process")
            return taken
        finally:
            os.close(pidfd)

    def finish(self) -> _Reply:
        """The reply."""
        missing = [failure["value"] for failure in self._failed if failure["error"] == "no-cgroup"]
        self._failed += [
            {"error": "no-match", "kind": kind, "value": value}
            for kind, value in self._unmatched
            if not (kind == "cgroup" and value in missing)
        ]
        return {"done": self.done, "failed": self._failed}


def about(pid: int, name: bytes) -> _Reply:
    program, uids = processes.program_of(pid), processes.uids_of(pid)
    return {
        "pid": pid,
        "name": processes.clean(name),
        "program": processes.clean(program) if program is not None else None,
        "uid": uids[0] if uids else None,
    }


def _ask(act: _Act, pid: int) -> Taken:
    for _ in range(_SHARED_TRIES):
        try:
            return act(pid)
        except OSError as error:
            if error.errno == errno.ESRCH:
                raise
            if error.errno != errno.EBUSY:
                raise _Refused("system", error.errno) from None
            time.sleep(_SHARED_PAUSE)
    raise _Refused("shares")


def _lives(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)
