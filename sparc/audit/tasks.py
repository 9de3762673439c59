"""The steps of an audit, each of which any process can do that sees the file.

`plan` takes the file apart and says which pages are compressed; `raw` searches some windows of its
bytes, `unpacked` some of the compressed pages; `report` takes the file apart again and puts
together what was found. A step that is done twice finds the same twice.

What is searched for, and where, is known to a process before (`JOBS`): none of it is among a step's
arguments, which a cluster writes into its logs. For the same reason no step raises.
"""

from __future__ import annotations

import os
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sparc.audit.matcher import Matcher
from sparc.audit.patterns import Pattern, patterns
from sparc.audit.raw import RawFound, search_windows
from sparc.audit.report import Report
from sparc.audit.secrets import Secret
from sparc.errors import NotReadable, SparcError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sparc.audit.unpack import Unpacked

__all__ = ["JOBS", "Failed", "Job", "Plan", "Version", "forget", "run"]

_CHANGED = "it was changed meanwhile"
# What is kept of all parts of a file together, as if two processes had searched it.
MAX_CANDIDATES = 2 * Matcher.MAX_CANDIDATES


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """What is searched for in which files. `secrets` are without their values."""

    paths: list[str]
    wanted: list[Pattern]
    secrets: list[Secret]

    @classmethod
    def of(cls, paths: list[str], secrets: list[Secret]) -> Job:
        """The job of searching these files."""
        nameless = [replace(secret, value=b"") for secret in secrets]
        return cls(paths, patterns(secrets), nameless)


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a step was not done."""

    error: SparcError


@dataclass(frozen=True, slots=True)
class Version:
    """Which content of a file was looked at: bytes, and nanoseconds of its last change."""

    size: int
    changed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be searched in a file; the file offsets of compressed pages, ascending."""

    version: Version
    packed: npt.NDArray[np.uint64]


JOBS: dict[str, Job] = {}
"""What this process takes part in, by name."""

_matchers: dict[tuple[str, int], Matcher] = {}


def forget(name: str) -> None:
    """Take no part in a job any more."""
    JOBS.pop(name, None)
    for key in [key for key in _matchers if key[0] == name]:
        del _matchers[key]


def run(name: str, step: str, number: int, *args: Any) -> Any:
    """Do a step for the file of that number; a Failed where that is not possible."""
    job = JOBS.get(name)
    if job is None:
        return Failed(NotReadable(f"file {number + 1}", "a worker does not know of this search"))
    path = job.paths[number]
    try:
        for found in args:
            if isinstance(found, Failed):
                return found
        return _STEPS[step](job, path, _matcher(name, job), *args)
    except SparcError as error:
        # Without its frames, which refer to all that was read.
        error.__cause__ = error.__context__ = None
        return Failed(error.with_traceback(None))
    except OSError as error:
        return Failed(NotReadable(path, error.strerror or type(error).__name__))
    except Exception as error:
        # A message might quote what was read.
        return Failed(NotReadable(path, f"the search of it failed ({type(error).__name__})"))


def _matcher(name: str, job: Job) -> Matcher:
    """One that has found nothing yet. Compiling it takes long, and it serves one thread."""
    key = name, threading.get_ident()
    if key not in _matchers:
        _matchers[key] = Matcher(job.wanted)
    return _matchers[key].again()


def _version(fd: int) -> Version:
    status = os.fstat(fd)
    return Version(status.st_size, status.st_mtime_ns)


def _check(fd: int, path: str, version: Version) -> None:
    if _version(fd) != version:
        raise NotReadable(path, _CHANGED)


@contextmanager
def _opened(path: str, version: Version) -> Iterator[int]:
    """The file's descriptor, while it is of that version; else NotReadable."""
    from sparc.sav.stream import open_regular

    fd, _ = open_regular(path)
    try:
        _check(fd, path, version)
        yield fd
        _check(fd, path, version)
    finally:
        os.close(fd)


def _plan(job: Job, path: str, matcher: Matcher) -> Plan:
    import numpy as np

    from sparc.audit.scan import stored_alone
    from sparc.qemu.walk import StreamWalk, is_stream
    from sparc.sav.memory import Memory
    from sparc.sav.stream import Stream
    from sparc.sav.walk import Walk

    parts = [np.empty(0, np.uint64)]

    class Rows(Walk):
        def pages(self, memory: Memory, first_row: int) -> None:
            offset, _, count, _, _ = memory.index.rows(first_row)
            stored = offset != 0
            _, packed = stored_alone(self.stream, offset[stored], count[stored])
            parts.append(offset[stored][packed])

    with Stream(path) as stream:
        version = _version(stream.fd)
        # QEMU compresses nothing here.
        walk = StreamWalk(stream) if is_stream(stream) else Rows(stream)
        walk.run()
    return Plan(version, np.concatenate(parts))


def _raw(job: Job, path: str, matcher: Matcher, version: Version, windows: range) -> array[int]:
    with _opened(path, version) as fd:
        return search_windows(fd, version.size, matcher, windows)


def _unpacked(
    job: Job, path: str, matcher: Matcher, version: Version, offsets: npt.NDArray[np.uint64]
) -> Unpacked:
    from sparc.audit.unpack import unpack_stored

    with _opened(path, version) as fd:
        return unpack_stored(fd, offsets, matcher)


def _report(
    job: Job, path: str, matcher: Matcher, version: Version, *found: array[int] | Unpacked
) -> Report:
    from sparc.audit.scan import AuditWalk, RejoinedWalk, StreamAuditWalk, finish, walk_of
    from sparc.audit.unpack import Unpacked
    from sparc.qemu.walk import is_stream
    from sparc.sav.stream import Stream

    raw = RawFound()
    for result in found:
        if isinstance(result, array) and not raw.take(result):
            raise NotReadable(path, "a search of it was stopped")
    raw.too_many |= len(raw.candidates) > MAX_CANDIDATES
    del raw.candidates[MAX_CANDIDATES:]
    unpacked = Unpacked.joined(part for part in found if isinstance(part, Unpacked))
    report = Report(path, job.secrets)
    with Stream(path) as stream:
        _check(stream.fd, path, version)
        walk: AuditWalk | StreamAuditWalk = RejoinedWalk(stream, matcher, unpacked)
        if is_stream(stream):
            walk = walk_of(stream, matcher)
        walk.run()
        walk.finish()
        if isinstance(walk, RejoinedWalk) and not walk.same:
            raise NotReadable(path, _CHANGED)
        matcher.saturated |= unpacked.saturated
        matcher.gave_up |= unpacked.gave_up
        finish(report, job.wanted, walk, raw)
        _check(stream.fd, path, version)
    return report


_STEPS: dict[str, Callable[..., Any]] = {
    "plan": _plan,
    "raw": _raw,
    "unpacked": _unpacked,
    "report": _report,
}
