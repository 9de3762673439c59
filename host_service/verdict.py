"""Is a checkpoint clean? Only the report beside its saved state may say so, if it is credible.

Of the saved state itself no more is read than tells that it is the one that was reported on.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from host_service.fields import Malformed
from host_service.matching import mismatch
from host_service.reports import MAX_BYTES, Report, parse

__all__ = ["Verdict", "beside", "judge"]


@dataclass(frozen=True)
class Verdict:
    """`why` is for people, and may quote a guest. `report` is None where none can be believed.

    Then `doubted` is what it says, if it says something.
    """

    clean: bool
    why: str
    report: Report | None = None
    doubted: Report | None = None


def beside(state_file: Path) -> Path:
    """Where the report on a saved state stands."""
    name = state_file.name.removesuffix(".sav").removesuffix(".ckpt")
    return state_file.with_name(f"{name}.sparc.json")


def judge(state_file: Path | None, vm_uuid: str | None, since: datetime | None = None) -> Verdict:
    """Whether that saved state, of that VM, written `since` then, holds nothing of the excluded.

    Everything but a readable report that fits makes it not clean. `since` must have a time zone.
    Where nobody knows whose file it is, `vm_uuid` is None, and the report is believed in that.
    """
    if state_file is None:
        return Verdict(False, "it holds no memory: it was taken while the VM was off")
    path = beside(state_file)
    try:
        report = parse(_read(path, state_file))
    except FileNotFoundError:
        return Verdict(False, "there is no report on it: no extension pack of ours took part")
    except OSError as error:
        return Verdict(False, f"its report cannot be read: {error.strerror or error}")
    except Malformed as error:
        return Verdict(False, f"its report cannot be believed: {error}")
    foreign = _foreign(report, state_file, vm_uuid, since)
    if foreign:
        return Verdict(False, f"its report cannot be believed: {foreign}", doubted=report)
    if report.clean and (wrong := _mismatch(state_file, report)):
        return Verdict(False, wrong, doubted=report)
    return Verdict(report.clean, report.message or report.reason, report)


def _mismatch(state_file: Path, report: Report) -> str:
    try:
        return mismatch(state_file, report)
    except OSError as error:
        return f"not verified: it cannot be read: {error.strerror or error}"


def _read(path: Path, state_file: Path) -> bytes:
    """What stands in a report that only the writer of the saved state can have written."""
    state = state_file.lstat()
    # A FIFO put in its place must not hold us up.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or not stat.S_ISREG(state.st_mode):
            raise Malformed("it is not a plain file")
        if found.st_uid != state.st_uid or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Malformed("others could have written it")
        if found.st_mtime_ns < state.st_mtime_ns:
            raise Malformed("the saved state was changed after it")
        return file.read(MAX_BYTES + 1)


def _foreign(
    report: Report, state_file: Path, vm_uuid: str | None, since: datetime | None
) -> str | None:
    """What tells that a report is about something else."""
    if vm_uuid is not None and report.vm_uuid != vm_uuid:
        return "it is about another VM"
    # The pack names the file by the path that the kernel knows it by.
    if report.state_file not in (state_file, state_file.resolve()):
        return "it is about another file, or this one was moved"
    if not report.saved:
        return "it says that nothing was saved"
    # Reports tell whole seconds.
    if since is not None and report.time < since.astimezone(UTC) - timedelta(seconds=1):
        return "it is older than this checkpoint"
    return None
