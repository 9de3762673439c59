"""Telling processes from kernel threads quickly, while a checkpoint waits.

In a guest without systemd they stand in one control group, dozens of them, and to look at each
takes longer than everything else that freezing does. So it is remembered which pids are kernel
threads; a pidfd for each tells when that is no longer true.
"""

from __future__ import annotations

import os
import select

from guest_service import processes
from guest_service.processes import Process

__all__ = ["KernelThreads"]


class KernelThreads:
    """The kernel threads that were seen."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._pids: dict[int, int] = {}
        self._poll = select.poll()

    def close(self) -> None:
        """Forget all."""
        for fd in list(self._pids):
            self._forget(fd)

    def others(self, pids: list[int]) -> list[Process]:
        """Those of `pids`, as they were just listed, that live and are no kernel threads."""
        # Asked after they were listed: one that still lives now is the one that was listed.
        for fd, _ in self._poll.poll(0):
            self._forget(fd)
        found = []
        for pid in pids:
            if pid in self._known:
                continue
            process = processes.read(pid)
            if process is None:
                continue
            if process.is_kernel_thread:
                self._remember(pid)
            else:
                found.append(process)
        return found

    def _remember(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return
        # Only now does the pidfd keep its number from meaning somebody else unnoticed.
        process = processes.read(pid)
        if process is None or not process.is_kernel_thread:
            os.close(fd)
            return
        self._known.add(pid)
        self._pids[fd] = pid
        self._poll.register(fd, select.POLLIN)

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        self._known.discard(self._pids.pop(fd))
        os.close(fd)
