"""Whether a saved state is the one that its report is about, by what is found out at once.

A report names a file, and another may have been put into its place. The guest's own numbers stand
in the file, near its beginning; that nothing but zeros stands where nothing may be, is for `sparc
report` and `sparc audit`, which read all of it.
"""

from __future__ import annotations

import functools
from datetime import timedelta
from pathlib import Path
from typing import Any

from host_service.reports import Amount, Report

__all__ = ["mismatch"]

# Between the last byte of a saved state and its report the disk may have had much to do; and file
# systems of other machines have clocks of their own.
_LATE = timedelta(minutes=10)
_MOST_NAMES = 1 << 16
_KEPT = 256

_OTHER = "its report cannot be believed: it is about another saved state than what stands there"
_UNREAD = "not verified: the saved state cannot be read: sparc sav info says more"
_VERSION = "not verified: the sparc in its guest was of another version than this one"


def mismatch(state_file: Path, report: Report) -> str:
    """Why a report that calls this saved state clean does not fit it, or "" where it does.

    Raises OSError: the file cannot be looked at.
    """
    found = state_file.stat()
    if found.st_mtime < (report.time - _LATE).timestamp():
        return _OTHER
    return _compared(_mailbox(state_file, found.st_dev, found.st_ino, found.st_ctime_ns), report)


@functools.lru_cache(_KEPT)
def _mailbox(state_file: Path, *_: int) -> bytes | str | None:
    """The guest's mailbox in it, kept for as long as the file is the same; or why it is unread."""
    from sparc.errors import NotReadable, SavError
    from sparc.sav.mailbox import find_mailbox

    try:
        return find_mailbox(state_file)
    except (NotReadable, SavError):
        return _UNREAD


def _compared(page: bytes | str | None, report: Report) -> str:
    from sparc import abi
    from sparc.sav.mailbox import is_held, is_sealed

    if isinstance(page, str):
        return page
    if page is None:
        return _OTHER
    if abi.Identity.parse(page).abi != abi.VERSION:
        return _VERSION
    mailbox = abi.Mailbox.parse(page)
    if report.reason == "nothing-excluded":
        return _OTHER if mailbox.status.armed else ""
    if not is_held(mailbox) or not is_sealed(mailbox):
        return _OTHER
    return "" if _numbers(mailbox.manifest) == _reported(report) else _OTHER


def _numbers(head: Any) -> tuple[object, ...]:
    """What the pack takes into its report of what the guest says."""
    from sparc.abi import Display, Kind
    from sparc.wire import named

    kinds = {
        named(Kind, kind): Amount(head.kind_pages[kind], head.kind_bytes[kind])
        for kind in Kind
        if head.kind_pages[kind] or head.kind_bytes[kind]
    }
    processes = min(head.processes, _MOST_NAMES)
    return (
        head.drop_pages,
        head.stash_pages,
        head.extents,
        processes,
        named(Display, head.display),
        kinds,
    )


def _reported(report: Report) -> tuple[object, ...]:
    processes = len(report.excluded)
    pages = report.drop_pages, report.stash_pages
    return *pages, report.extents, processes, report.display, report.kinds
