"""Scrubs one saved state: works out what goes, writes it anew, verifies that, and replaces it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from sparc.audit import report as audit_report
from sparc.audit.run import audit
from sparc.errors import PageNotStored, ScrubError
from sparc.sav import c_pgm, c_ssm
from sparc.sav.changes import Changes
from sparc.sav.index import RAM
from sparc.sav.memory import Memory
from sparc.sav.splice import splice
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk
from sparc.scrub.replace import Replacement, fate_of_blocks
from sparc.scrub.report import Report
from sparc.scrub.request import Request
from sparc.scrub.residue import erase

__all__ = ["scrub"]

if TYPE_CHECKING:
    import numpy.typing as npt

PAGE = c_pgm.PAGE
Progress = Callable[[int, int], None]
Steps = Callable[[str], AbstractContextManager[Progress | None]]
# Of a secret that stands in more places than an audit lists, the rest is found in the next round.
_ROUNDS = 5


def scrub(
    path: str | os.PathLike[str], request: Request, steps: Steps, *, dry_run: bool = False
) -> Report:
    """Rewrite a saved state in place without what is asked for; the old file is overwritten.

    `steps(words)` gives a context that shows a step's progress. Raises NotReadable, ScrubError,
    PageNotStored and SavError: then the file is as it was.
    """
    report = Report(os.fspath(path), dry_run)
    with Replacement(path) as replacement:
        with _read(replacement.path, steps) as state:
            changes = Changes(state)
            _work_out(changes, request, report, steps)
            report.sizes = (state.size, state.size)
            if dry_run or next(changes.real(), None) is None:
                return report
            fd = replacement.create()
            for number in range(_ROUNDS):
                with steps("Writing") as progress:
                    splice(state, changes.edits(), fd, progress)
                with steps("Verifying") as progress:
                    _verify(changes, replacement.new_path, replacement.path, progress)
                if not request.secrets:
                    break
                with steps("Searching the new file") as progress:
                    found = audit(replacement.new_path, request.secrets, progress)
                if found.status == audit_report.CLEAN:
                    break
                if number + 1 == _ROUNDS or not erase(
                    changes, found, report, whole_pages=request.whole_pages
                ):
                    raise _residue(replacement.path, found)
                replacement.restart()
            report.sizes = (state.size, os.fstat(fd).st_size)
        _replace(replacement, report, steps)
    return report


def _read(path: os.PathLike[str], steps: Steps) -> SavedState:
    """Open it, every checksum verified."""
    with steps("Reading") as progress, Walk(path) as walk:
        walk.on_progress = progress
        walk.run()
        if walk.problems:
            raise walk.problems[0]
        return SavedState.of(walk)


def _work_out(changes: Changes, request: Request, report: Report, steps: Steps) -> None:
    """Fill in what changes, kind by kind."""
    _earlier_copies(changes, report)
    _named_pages(changes, request, report)
    if request.screen:
        from sparc.scrub.screen import take_out_screen

        take_out_screen(changes, report)
    if request.free or request.pids or request.names:
        from sparc.scrub.guest import take_out_of_guest

        with steps("Looking into the guest") as progress:
            take_out_of_guest(changes, report, request, progress)
    if request.secrets:
        with steps("Searching") as progress:
            found = audit(changes.state.path, request.secrets, progress)
        if found.problems:
            # Part of the file was not searched, for what that may be worth in a valid one.
            report.leave("secrets", "not everything could be searched")
        erase(changes, found, report, whole_pages=request.whole_pages)
        if request.whole_pages is False and report.kinds.get("secrets"):
            report.note(
                "their bytes are zeros now: where they were in use, a program of the restored "
                "guest, or the guest, may fail"
            )


def _earlier_copies(changes: Changes, report: Report) -> None:
    if changes.state.header.live and (count := sum(edit.count for edit in changes.real())):
        report.count("earlier copies in a live save", pages=count)


def _named_pages(changes: Changes, request: Request, report: Report) -> None:
    stored = changes.state.index.table(RAM)
    for pages in request.pages:
        inside = range(max(pages.start, 0), min(pages.stop, len(stored)))
        there = np.count_nonzero(stored[inside.start : inside.stop]) if inside else 0
        if not there:
            raise PageNotStored(pages.start * PAGE)
        changes.blank(np.arange(inside.start, inside.stop))
        report.count("pages", pages=int(there))
    for address, size in request.extents:
        changes.erase(address, size)
        report.count("extents", bytes_=size)
    if request.pages or request.extents:
        report.note("what is in use in the guest is zeros now: the restored guest may crash")


class _Check(Walk):
    """Notes which pages of RAM are stored as zeros."""

    def __init__(self, source: Stream, pages: int) -> None:
        super().__init__(source)
        self.zero = np.zeros(pages, np.bool_)

    def pages(self, memory: Memory, first_row: int) -> None:
        offset, page, count, kind, _ = memory.index.rows(first_row)
        ram = np.isin(kind, (c_pgm.RAM_ZERO, c_pgm.RAM_RAW, c_pgm.RAM_BALLOONED))
        stored = ram & (offset != 0)
        at = (offset[stored & (count == 1)] - np.uint64(self.stream.base)).astype(np.int64)
        form = np.frombuffer(self.stream.buf, np.uint8)[at] & 0x0F
        self.zero[page[stored & (count == 1)]] = form == c_ssm.REC_ZERO
        for row in np.flatnonzero(ram & ((offset == 0) | (count > 1))).tolist():
            first = int(page[row])
            self.zero[first : first + int(count[row])] = offset[row] == 0


def _verify(changes: Changes, new: str, path: os.PathLike[str], progress: Progress | None) -> None:
    """Read the new file from end to end: every checksum, the same units, the same pages, and
    zeros where they were asked for. Raises ScrubError."""
    state = changes.state
    with _Check(Stream(new), len(state.index.table(RAM))) as walk:
        walk.on_progress = progress
        walk.run()
        fault = ""
        if not walk.clean:
            fault = "a checksum or a structure is wrong"
        elif _units(walk.units) != _units(state.units):
            fault = "units differ"
        elif not _same_pages(walk.memory, state.memory):
            fault = "pages differ"
        elif not walk.zero[changes.pages()].all():
            fault = "a page is not zero"
    if fault:
        raise ScrubError(
            os.fspath(path), f"what was written is not right: {fault}", "please report this"
        )


def _units(units: list[Unit]) -> list[tuple[object, ...]]:
    return [(u.name, u.instance, u.version, u.pass_, u.content) for u in units]


def _same_pages(one: Memory | None, other: Memory) -> bool:
    """Whether two files have the same records of pages in the same order."""
    if one is None or one.ram_ranges() != other.ram_ranges():
        return False
    return all(np.array_equal(a, b) for a, b in zip(_records(one), _records(other), strict=True))


def _records(memory: Memory) -> list[npt.NDArray[Any]]:
    """First page, number of pages, and kind of each run of neighbours in the order of the file,
    however many rows the index has for it."""
    _, page, count, kind, range_id = memory.index.rows()
    if not len(page):
        return [page]
    more = (page[1:] == page[:-1] + count[:-1]) & (kind[1:] == kind[:-1])
    more &= range_id[1:] == range_id[:-1]
    starts = np.flatnonzero(np.concatenate([[True], ~more]))
    return [page[starts], np.add.reduceat(count, starts), kind[starts], range_id[starts]]


def _residue(path: os.PathLike[str], found: audit_report.Report) -> ScrubError:
    if found.problems:
        return ScrubError(os.fspath(path), "not all could be searched", "sparc audit FILE says why")
    places = sorted({f.name or f.place for f in found.findings})
    return ScrubError(
        os.fspath(path),
        f"secrets would be left, where nothing may be changed: {', '.join(places)}",
        "sparc audit FILE shows where each stands; save again without it",
    )


def _replace(replacement: Replacement, report: Report, steps: Steps) -> None:
    try:
        with steps("Overwriting the old file") as progress:
            replacement.commit(progress)
    except (OSError, KeyboardInterrupt) as error:
        if not replacement.replaced:
            raise
        why = getattr(error, "strerror", None) or "interrupted"
        report.leave("old file", f"not all of its blocks were overwritten: {why}")
    else:
        report.fate = fate_of_blocks(replacement.path)
    report.written = True
