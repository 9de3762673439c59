"""Takes out what the guest's kernel says belongs to somebody: free memory, processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from sparc.errors import KernelNotRead, ScrubError
from sparc.kernel.free import free_pages, poisoned
from sparc.kernel.process import Belongings, Processes
from sparc.kernel.program import open_kernel
from sparc.sav.changes import Changes
from sparc.scrub.report import Report
from sparc.scrub.request import Request

__all__ = ["take_out_of_guest"]

Progress = Callable[[int, int], None]

FREE, PROCESSES = "free memory", "processes"
# What only the guest's own module finds: each has its own structures, that change with the kernel.
_NOT_LOOKED_FOR = (
    "pipes",
    "sockets",
    "terminals",
    "freed kernel buffers",
    "keys, signals and timers",
    "names of files and of the process",
)


def take_out_of_guest(
    changes: Changes, report: Report, request: Request, progress: Progress | None
) -> None:
    """Blank it, and name as left all that could not be found.

    Raises ScrubError when a process is not in the guest. A kernel that cannot be read is no error.
    """
    processes = bool(request.pids or request.names)

    def step(number: int) -> None:
        if progress is not None:
            progress(number, 3)

    step(0)
    try:
        program = open_kernel(changes.state)
    except KernelNotRead as error:
        if request.free:
            report.leave(FREE, error.cause)
        if processes:
            report.leave(PROCESSES, error.cause)
        return
    step(1)
    if processes:
        try:
            guest = Processes(program, changes.state)
            _processes(changes, report, guest, request.pids, request.names)
        except KernelNotRead as error:
            report.leave(PROCESSES, error.cause)
    step(2)
    if request.free:
        try:
            _free(changes, report, free_pages(program), poisoned(program))
        except KernelNotRead as error:
            report.leave(FREE, error.cause)
    elif processes:
        report.leave(FREE, "what the process gave back before is in it: add --free")


def _free(changes: Changes, report: Report, pages: Iterable[range], poisoned: bool) -> None:
    if poisoned:
        report.note("the kernel overwrites what is freed (page_poison): free memory was left")
        return
    numbers = np.concatenate([np.empty(0, np.int64), *(np.arange(p.start, p.stop) for p in pages)])
    changes.blank(numbers)
    report.count(FREE, pages=len(numbers))


def _processes(
    changes: Changes, report: Report, guest: Processes, pids: list[int], names: list[str]
) -> None:
    groups = guest.find(pids, names)
    missing = [str(pid) for pid in pids if pid not in groups]
    short = {name.encode()[:15].decode(errors="replace") for name in names}
    missing += sorted(short - set(groups.values()))
    if missing:
        raise ScrubError(
            changes.state.path,
            f"no such process in the guest: {', '.join(missing)}",
            "processes are named as in ps -e -o pid,comm of the guest at that time",
        )
    report.processes = sorted(groups.items())
    found = guest.belongings(groups)
    changes.blank(found.anonymous)
    report.count("process memory", pages=len(found.anonymous))
    for kind, extents in (("registers", found.registers), ("kernel stacks", found.stacks)):
        for address, size in extents:
            changes.erase(address, size)
        report.count(kind, bytes_=sum(size for _, size in extents))
    changes.blank(found.files.blank)
    changes.blank(found.files.memory)
    for address, data in found.files.writes:
        changes.write(address, data)
    report.count("files in the page cache", pages=len(found.files.blank))
    report.count("shared memory", pages=len(found.files.memory))
    report.note("after a restore these processes die as soon as they run again (SIGSEGV)")
    _left_of_processes(report, found)


def _left_of_processes(report: Report, found: Belongings) -> None:
    if found.programs:
        report.note(f"{found.programs} pages of programs and libraries stay, by design")
    if found.shared:
        # By design, as everywhere: the process never wrote to them since.
        report.note(f"{found.shared} pages that others have since a fork stay")
    if found.merged:
        report.leave("merged memory", f"{found.merged} pages are the same as others' (KSM)")
    if found.absent:
        report.leave("swap", f"{found.absent} pages are not in memory")
    if found.running:
        report.leave("registers", f"of {found.running} threads they were in a virtual CPU")
    for reason, frames in sorted(found.files.kept.items()):
        report.leave("files", f"{len(frames)} pages {reason}")
    if found.other:
        report.leave(
            "other mapped memory", f"{found.other} pages: of devices, rings shared with the kernel"
        )
    for kind in _NOT_LOOKED_FOR:
        report.leave(kind, "not looked for")
