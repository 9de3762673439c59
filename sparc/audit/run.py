"""Starts an audit: what can search at once does, while the rest is still being loaded."""

from __future__ import annotations

import os
from collections.abc import Callable

from sparc.audit.matcher import Matcher
from sparc.audit.patterns import patterns
from sparc.audit.raw import RawSearch
from sparc.audit.report import Report
from sparc.audit.secrets import Secret
from sparc.sav.stream import Stream

__all__ = ["audit"]


def audit(
    path: str | os.PathLike[str],
    secrets: list[Secret],
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Search a saved state for secrets. `progress(done, total)` is called with bytes read.

    Raises NotReadable, NotASavedState and Unsupported (format) when there is nothing to search;
    whatever else is wrong is among the report's problems, after all that could be was searched.
    It forks: one process searches the bytes of the file, this one takes it apart.
    """
    report = Report(os.fspath(path), secrets)
    wanted = patterns(secrets)
    matcher = Matcher(wanted)
    with Stream(path) as stream:
        raw = RawSearch(stream.fd, stream.size, stream.path, matcher)
        try:
            # Loading numpy and construct takes as long as searching a quarter of a gigabyte.
            from sparc.audit.scan import search

            search(stream, wanted, matcher, raw, report, progress)
        finally:
            raw.close()
    return report
