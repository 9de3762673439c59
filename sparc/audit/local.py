"""The processes of this machine as a pool, one for each processor."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from sparc.audit.tasks import JOBS, Job, forget, run

__all__ = ["processes"]


class _Processes:
    def __init__(self, name: str, executor: ProcessPoolExecutor, width: int) -> None:
        self.width = width
        self._name = name
        self._executor = executor

    def submit(self, step: str, number: int, part: int, *args: Any) -> Future[Any]:
        known = [arg.result() if isinstance(arg, Future) else arg for arg in args]
        try:
            return self._executor.submit(run, self._name, step, number, *known)
        except BrokenExecutor as error:
            # One of them was killed, and so are all.
            ended: Future[Any] = Future()
            ended.set_exception(error)
            return ended


@contextmanager
def processes(job: Job) -> Iterator[_Processes]:
    """A pool for a job, which is inherited and so passes through no pipe."""
    width = len(os.sched_getaffinity(0))
    name = secrets.token_hex(8)
    JOBS[name] = job
    executor = ProcessPoolExecutor(width, multiprocessing.get_context("fork"), _as_usual)
    try:
        yield _Processes(name, executor, width)
    finally:
        executor.shutdown(cancel_futures=True)
        forget(name)


def _as_usual() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
