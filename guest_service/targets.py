"""Who is meant by a request: pids, names, users, control groups, terminals."""

from __future__ import annotations

import os

from guest_service import cgroups, processes
from guest_service.processes import Process
from guest_service.protocol import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:  # As in freezer.py: not worth its time at run time.
    from collections.abc import Iterable

__all__ = ["Targets"]

_MOST = 10000


def _numbers(request: dict[str, object], key: str) -> list[int]:
    values = request.get(key, [])
    if not isinstance(values, list) or len(values) > _MOST:
        raise BadRequest(key)
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 32:
            raise BadRequest(key)
    return values


def _texts(request: dict[str, object], key: str) -> list[str]:
    values = request.get(key, [])
    if not isinstance(values, list) or len(values) > _MOST:
        raise BadRequest(key)
    for value in values:
        if not isinstance(value, str) or not value or "\0" in value:
            raise BadRequest(key)
        try:
            os.fsencode(value)
        except UnicodeEncodeError:
            raise BadRequest(key) from None
    return values


class Targets:
    """The targets of one request, made by process `caller`. `root`: of the cgroups, None if none.

    Raises BadRequest.
    """

    def __init__(self, request: dict[str, object], caller: int, root: str | None) -> None:
        self.pids = _numbers(request, "pids")
        if request.get("self") is True:
            self.pids = [*self.pids, caller]
        self._root = root
        self._uids = _numbers(request, "uids")
        self.ttys = _numbers(request, "ttys")
        if 0 in self.ttys:  # that is who has none
            raise BadRequest("ttys")
        # Who has a terminal open, or its other end, without being a process of it: by number.
        self.holders: set[tuple[int, int]] = set()
        self._names = _texts(request, "names")
        self._cgroups = [self._normal(path) for path in _texts(request, "cgroups")]
        if not (self.pids or self._uids or self.ttys or self._names or self._cgroups):
            raise BadRequest("nobody")

    def _normal(self, path: str) -> str:
        mounted = os.path.normpath(path)
        if self._root and mounted.startswith(f"{self._root}/"):
            mounted = mounted[len(self._root) :]
        return os.path.normpath(f"/{mounted}").replace("//", "/")

    def selectors(self) -> list[tuple[str, object]]:
        """Everything that selects: kind and value."""
        return [
            *(("uid", uid) for uid in self._uids),
            *(("tty", tty) for tty in self.ttys),
            *(("name", name) for name in self._names),
            *(("cgroup", path) for path in self._cgroups),
        ]

    def missing(self) -> list[dict[str, object]]:
        """Failures that can be told before anybody is looked for."""
        return [
            {"error": "no-cgroup", "kind": "cgroup", "value": path}
            for path in self._cgroups
            if self._root is None or not os.path.isdir(self._root + path)
        ]

    def among(self, pids: Iterable[int]) -> dict[int, list[tuple[str, object]]]:
        """Which of these processes are selected, and by what."""
        below = {path: self._below(path) for path in self._cgroups}
        found = {}
        for pid in pids:
            process = processes.read(pid)
            if process is None or process.is_kernel_thread or process.state in "ZX":
                continue
            if reasons := self._reasons(process, below):
                found[pid] = reasons
        return found

    def _below(self, path: str) -> set[int]:
        """Who is in a group or below it."""
        if self._root is None:
            return set()
        found: set[int] = set()
        waiting = [f"{self._root}{path}".rstrip("/")]
        while waiting:
            group = waiting.pop()
            found.update(cgroups.members(group))
            waiting += cgroups.children(group)
        return found

    def _reasons(self, process: Process, below: dict[str, set[int]]) -> list[tuple[str, object]]:
        found: list[tuple[str, object]] = []
        if self._uids:
            uids = (processes.uids_of(process.pid) or ())[:2]
            found += (("uid", uid) for uid in self._uids if uid in uids)
        if self._names:
            called = (process.name, processes.program_of(process.pid))
            found += (("name", name) for name in self._names if os.fsencode(name) in called)
        found += (
            ("tty", tty)
            for tty in self.ttys
            if tty == process.tty or (process.pid, tty) in self.holders
        )
        found += (("cgroup", path) for path, inside in below.items() if process.pid in inside)
        return found
