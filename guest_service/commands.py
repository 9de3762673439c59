"""What clients ask for, done. Requests and replies are described in guest_service.protocol."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import stat
import time

from guest_service import helper, processes
from guest_service.changes import Caller, Changes, about
from guest_service.device import Device
from guest_service.helper import Failed
from guest_service.history import History
from guest_service.protocol import BadRequest
from guest_service.swap import Swap
from guest_service.targets import Targets
from sparc import wire

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from guest_service.rules import Rule
    from guest_service.ruling import Ruling

    _Reply = dict[str, object]

__all__ = ["Commands"]

# How often a user's or a group's processes are looked for again, since they may fork meanwhile.
_ROUNDS = 10
# The machine stands still while what would be kept out is counted, and a checkpoint has to wait: it
# is not counted anew before so many seconds, nor before so many times what the last count took.
_COUNT_SECONDS = 10.0
_COUNT_TIMES = 50
# Bounds for what a child does, below what a client waits; in an interpreted guest, much of it.
_PEERS_SECONDS = 60.0
_SWAP_SECONDS = 60.0


class Commands:
    """Carries requests out. `root`: where the cgroups are mounted, None if nowhere."""

    def __init__(
        self, device: Device, history: History, root: str | None, swap: Swap | None = None
    ) -> None:
        self._device = device
        self._swap = swap
        self._history = history
        self._root = root
        # Whoever applies rules, to be asked how they stand.
        self.rules: Ruling | None = None
        self._started = time.time()
        # When each process was excluded, by pid and start: one that is not here came by its birth.
        self._since: dict[tuple[int, int], float] = {}
        # The last count, when it was made, and when there may be another.
        self._counted: tuple[_Reply, float, float] | None = None

    def run(self, request: _Reply, caller: Caller) -> _Reply:
        """The reply to a request."""
        try:
            match request.get("command"):
                case "exclude":
                    return self._exclude(request, caller)
                case "include":
                    return self._include(Targets(request, caller.pid, self._root), caller)
                case "list":
                    return self._list()
                case "peers":
                    return self._peers(caller)
                case "status":
                    return self._status(caller)
                case "count":
                    return self._count()
        except BadRequest as error:
            return {"error": "bad-request", "why": error.why}
        except OSError as error:
            return {"error": "system", "errno": error.errno}
        except Failed as failed:
            return {"error": failed.code, **failed.fields}
        return {"error": "unknown-command"}

    def _exclude(self, request: _Reply, caller: Caller) -> _Reply:
        targets = Targets(request, caller.pid, self._root)
        flags = _flags(request)
        before = self._pids()
        self._keep(caller)
        left = self._hold_terminals(targets, caller)
        device = self._device
        reply = Changes(targets, caller, lambda pid: device.exclude(pid, flags))
        self._do_targets(targets, reply)
        incomplete = False
        if request.get("peers") is True:
            more, incomplete = self._do_peers(reply, before, caller)
            left += more
        swap = self._clear_swap(request, reply, before)
        for pid, start in reply.reached:
            self._since.setdefault((pid, start), time.time())
        return {**reply.finish(), "left": left, "incomplete": incomplete, "swap": swap}

    def _do_targets(self, targets: Targets, reply: Changes) -> None:
        reply.do(targets.pids)
        seen: set[int] = set()
        for _ in range(_ROUNDS):
            fresh = [pid for pid in processes.pids() if pid not in seen]
            if not targets.selectors() or not reply.do_selected(fresh):
                break
            seen.update(fresh)

    def _do_peers(
        self, reply: Changes, before: frozenset[int], caller: Caller
    ) -> tuple[list[_Reply], bool]:
        """Take in whom the newly excluded lead to; who is left out, and whether all was seen."""
        from guest_service import peers

        left: dict[object, _Reply] = {}
        incomplete = False
        for _ in range(_ROUNDS):
            members = self._pids()
            start = sorted((members - before) | {pid for pid, _ in reply.reached})
            own = os.getpid()
            ask = functools.partial(peers.closure, start, sorted(members), caller, own)
            try:
                told = helper.run(ask, _PEERS_SECONDS)
            except Failed:  # those named are excluded all the same
                incomplete = True
                break
            take, more, unseen = _entries(told, "take"), _entries(told, "left"), _flag(told)
            incomplete |= unseen
            left |= {entry["pid"]: entry for entry in more}
            if not reply.do_peers(take):
                break
        members = self._pids()
        return [entry for pid, entry in left.items() if pid not in members], incomplete

    def _hold_terminals(self, targets: Targets, caller: Caller) -> list[_Reply]:
        """Find who is at the other end of terminals; those among them who are left out."""
        if not targets.ttys:
            return []
        from guest_service import peers

        told = helper.run(
            lambda: peers.on_terminals(targets.ttys, caller, os.getpid()), _PEERS_SECONDS
        )
        found = told.get("found") if isinstance(told, dict) else None
        targets.holders = {(pid, tty) for pid, tty in found or ()}
        return _entries(told, "left")

    def _keep(self, caller: Caller) -> None:
        """Files that are to stay in checkpoints. Whoever could open one could copy it as well."""
        for fd in caller.files:
            readable = fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH)
            if readable not in (os.O_RDONLY, os.O_RDWR) or not stat.S_ISREG(os.fstat(fd).st_mode):
                raise BadRequest("files")
        for fd in caller.files:
            self._device.keep_file(fd)

    def _clear_swap(
        self, request: _Reply, reply: Changes, before: frozenset[int]
    ) -> dict[str, object] | None:
        """Bring back what is in swap of the newly excluded, or undo it all: raises Failed.

        Where none of it is in swap now, older copies may be; they are overwritten before a
        checkpoint at the latest. Why that cannot be done now either.
        """
        if self._swap is None or not reply.reached or not self._swap.needs_clearing():
            return None
        must = any(entry["swap_pages"] for entry in reply.done)
        if request.get("self") is True and not must:  # it has hardly begun
            return None
        try:
            self._swap.take_off(_SWAP_SECONDS)
            self._swap.put_on()
        except Failed as failed:
            if must:
                self._undo(reply, before)
                raise
            return {"error": failed.code, **failed.fields}
        return None

    def _undo(self, reply: Changes, before: frozenset[int]) -> None:
        for pid, _ in reply.reached:
            if pid not in before:
                with contextlib.suppress(OSError):
                    self._device.include(pid)
        for pid in before - self._pids():
            with contextlib.suppress(OSError):
                self._device.exclude(pid)

    def _pids(self) -> frozenset[int]:
        return frozenset(member.pid for member in self._device.members())

    def _peers(self, caller: Caller) -> _Reply:
        from guest_service import peers

        # Of others' processes a user learns no more than that they are excluded.
        members = [
            pid
            for pid in sorted(self._pids())
            if (uids := processes.uids_of(pid)) is not None and caller.may(uids)
        ]
        told = helper.run(lambda: peers.around(members, os.getpid(), [caller.pid]), _PEERS_SECONDS)
        excluded = self._pids()
        found = [entry for entry in _entries(told, "peers") if entry["pid"] not in excluded]
        return {"peers": found, "incomplete": _flag(told)}

    def _include(self, targets: Targets, caller: Caller) -> _Reply:
        before = self._pids()
        self._hold_terminals(targets, Caller(caller.pid, 0))
        device = self._device
        reply = Changes(targets, caller, device.include, repair=device.exclude, before=before)
        reply.do(targets.pids)
        if targets.selectors():
            reply.do_selected(sorted(before))
        for key in reply.reached:
            self._since.pop(key, None)
        return reply.finish()

    def _list(self) -> _Reply:
        found: list[_Reply] = []
        alive = {}
        for member in self._device.members():
            process = processes.read(member.pid)
            key = (member.pid, process.start) if process else None
            since = self._since.get(key) if key else None
            if key and since is not None:
                alive[key] = since
            found.append(
                {
                    **about(member.pid, member.name),
                    "since": since,
                    "exiting": member.exiting,
                    "memory_only": member.memory_only,
                    "display": member.display,
                }
            )
        self._since = alive
        return {"processes": sorted(found, key=lambda entry: str(entry["pid"]).zfill(10))}

    def apply(self, pid: int, rule: Rule, frozen: bool) -> _Reply:
        """Exclude a process as a rule says; the reply as to a request, perhaps with `error`.

        `frozen`: everybody stands still, so what is in swap is left to the checkpoint to refuse.
        """
        targets = Targets({"pids": [pid]}, 0, None)
        flags = wire.WITH_DISPLAY if rule.display else 0
        before = self._pids()
        device = self._device
        reply = Changes(targets, Caller(0, rule.owner), lambda pid: device.exclude(pid, flags))
        try:
            reply.do([pid])
            if not frozen:
                self._clear_swap({"self": True}, reply, before)
        except Failed as failed:
            return {"error": failed.code, **failed.fields}
        except OSError as error:
            return {"error": error.strerror or "system"}
        for key in reply.reached:
            self._since.setdefault(key, time.time())
        return reply.finish()

    def _status(self, caller: Caller) -> _Reply:
        members = self._device.members()
        return {
            "abi": self._device.version,
            "pid": os.getpid(),
            "since": self._started,
            "members": len(members),
            "memory_only": sum(member.memory_only for member in members),
            "display": any(member.display for member in members),
            "rules": self.rules.status(caller.uid) if self.rules is not None else None,
            **self._history.as_json(),
        }

    def _count(self) -> _Reply:
        if not self._device.members():
            self._counted = None
            return {"kinds": None, "reason": "none", "pid": 0, "took_us": 0, "age": 0.0}
        began = time.monotonic()
        if self._counted is None or began >= self._counted[2]:
            found = self._device.collect()
            # Of a count that failed the numbers mean nothing.
            kinds = {
                wire.named(wire.Kind, kind): {"pages": pages, "bytes": parts}
                for kind, (pages, parts) in found.kinds.items()
            }
            reply: _Reply = {
                "kinds": None if found.reason else kinds,
                "reason": wire.named(wire.Reason, found.reason),
                "pid": found.pid,
                "took_us": found.ns // 1000,
            }
            now = time.monotonic()
            pause = max(_COUNT_SECONDS, _COUNT_TIMES * (now - began))
            self._counted = reply, now, now + pause
        reply, when, _ = self._counted
        return {**reply, "age": time.monotonic() - when}


def _flags(request: _Reply) -> int:
    memory_only, display = request.get("memory_only") is True, request.get("display") is True
    return (wire.MEMORY_ONLY if memory_only else 0) | (wire.WITH_DISPLAY if display else 0)


def _entries(told: object, key: str) -> list[_Reply]:
    found = told.get(key) if isinstance(told, dict) else None
    return [entry for entry in found or () if isinstance(entry, dict)]


def _flag(told: object) -> bool:
    return isinstance(told, dict) and told.get("incomplete") is True
