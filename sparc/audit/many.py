"""Searches any number of saved states, part by part, with all processors or on a cluster.

Who does the steps of `sparc.audit.tasks` is a pool; here is which step comes when, and what becomes
of a file whose steps fail.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from sparc.audit import raw
from sparc.audit.report import Report
from sparc.audit.run import audit
from sparc.audit.secrets import Secret
from sparc.audit.tasks import Failed, Job, Plan
from sparc.errors import NotReadable, SavError, SparcError

__all__ = ["Future", "Pool", "audit_all"]

# What one step searches: bytes of the file, in windows; compressed pages. Both take a tenth of a
# second, and that is what is lost with whoever does it.
WINDOWS = 8
PAGES = 8192
# Below this one process and its helper have found all before a pool is up.
_SMALL = 256 << 20

Progress = Callable[[int, int], None]


class Future(Protocol):
    """The result of a step, when it is there."""

    def add_done_callback(self, fn: Callable[[Any], Any], /) -> Any:
        """Call with this future when it has ended, from any thread."""

    def cancel(self) -> Any:
        """Do not begin with it, if it has not begun."""

    def exception(self) -> BaseException | None:
        """Why there is no result."""

    def result(self) -> Any:
        """What the step found."""


class Pool(Protocol):
    """Does steps of the job that it was made for. `width`: how many at a time."""

    width: int

    def submit(self, step: str, number: int, part: int, *args: Any) -> Future:
        """Do a part of a step for a file; among `args` may be futures that have ended well."""


@dataclass(eq=False)
class _File:
    number: int
    path: str
    size: int
    plan: Plan | None = None
    open: set[Future] = field(default_factory=set)
    # In the order of the file.
    found: list[Future] = field(default_factory=list)
    reporting: bool = False
    shown: int = 0
    report: Report | None = None


def audit_all(
    paths: Sequence[str],
    secrets: list[Secret],
    pool: Callable[[Job], Any] | None = None,
    progress: Progress | None = None,
) -> list[Report]:
    """Search saved states for secrets; a report for each, in their order.

    `pool` makes, for a job, a context that yields a Pool; without one, the processors of this
    machine are used. `progress(done, total)` is called with bytes. A file of which nothing could be
    read has that among its report's problems.
    """
    if pool is None:
        if len(paths) == 1 and (_processors() <= 2 or _size(paths[0]) <= _SMALL):
            return [_alone(paths[0], secrets, progress)]
        from sparc.audit.local import processes

        pool = processes
    with pool(Job.of(list(paths), secrets)) as workers:
        return _Search(paths, secrets, workers, progress).run()


def _alone(path: str, secrets: list[Secret], progress: Progress | None) -> Report:
    try:
        return audit(path, secrets, progress)
    except (SavError, NotReadable) as error:
        return Report(path, secrets, problems=[error], searched=False)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _size(path: str) -> int:
    """In bytes; 0 of what cannot be read, which is told when it is searched."""
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


class _Search:
    def __init__(
        self,
        paths: Sequence[str],
        secrets: list[Secret],
        pool: Pool,
        progress: Progress | None,
    ) -> None:
        self.files = [_File(i, path, _size(path)) for i, path in enumerate(paths)]
        self.secrets = secrets
        self.pool = pool
        self.progress = progress
        self._total = sum(file.size for file in self.files)
        self._ended: SimpleQueue[Future] = SimpleQueue()
        self._owner: dict[Future, tuple[_File, str]] = {}

    def run(self) -> list[Report]:
        waiting = deque(self.files)
        while waiting or self._owner:
            # Enough that nobody waits, and of no more files than that is there anything in memory.
            while waiting and len(self._owner) < 2 * self.pool.width:
                self._start(waiting.popleft())
            future = self._ended.get()
            # Of a file that was given up, steps may still come to their end.
            file, step = self._owner.pop(future, (None, ""))
            if file is not None:
                self._take(file, step, future)
        return [file.report for file in self.files if file.report is not None]

    def _submit(self, file: _File, step: str, part: int, *args: Any) -> Future:
        future = self.pool.submit(step, file.number, part, *args)
        self._owner[future] = file, step
        file.open.add(future)
        future.add_done_callback(self._ended.put)
        return future

    def _start(self, file: _File) -> None:
        self._submit(file, "plan", 0)

    def _take(self, file: _File, step: str, future: Future) -> None:
        file.open.discard(future)
        done: Any = None
        try:
            error = future.exception()
            if error is None and step in ("plan", "report"):
                done = future.result()
        except Exception as lost:
            error = lost
        if error is not None:
            cause = f"the search of it was stopped ({type(error).__name__})"
            done = Failed(NotReadable(file.path, cause))
        if isinstance(done, Failed):
            self._give_up(file, done.error)
        elif step == "plan":
            self._planned(file, done)
        elif step == "report":
            file.report = done
            done.secrets = self.secrets
            file.found = []
        if not file.open and not file.report and not file.reporting and file.plan:
            file.reporting = True
            self._submit(file, "report", 0, file.plan.version, *file.found)
        self._show(file)

    def _planned(self, file: _File, plan: Plan) -> None:
        file.plan = plan
        version = plan.version
        windows = -(-version.size // raw.WINDOW)
        for part, first in enumerate(range(0, windows, WINDOWS)):
            some = range(first, min(first + WINDOWS, windows))
            file.found.append(self._submit(file, "raw", part, version, some))
        for part, first in enumerate(range(0, len(plan.packed), PAGES)):
            some_pages = plan.packed[first : first + PAGES]
            file.found.append(self._submit(file, "unpacked", part, version, some_pages))

    def _give_up(self, file: _File, error: SparcError) -> None:
        for future in file.open:
            del self._owner[future]
            future.cancel()
        file.open, file.found = set(), []
        assert isinstance(error, (SavError, NotReadable))
        file.report = Report(file.path, self.secrets, problems=[error], searched=False)

    def _show(self, file: _File) -> None:
        if self.progress is None:
            return
        steps = len(file.found) + 2
        parts = file.size * (steps - 1 - len(file.open)) // steps if file.plan else 0
        file.shown = file.size if file.report else max(file.shown, parts)
        self.progress(sum(f.shown for f in self.files), self._total)
