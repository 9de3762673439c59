"""Searches the bytes of the file as they are, in a thread of its own.

Pages that do not compress stand in the file as they are, so this finds what is in them without
taking the file apart; and it sees every byte, whether the format was understood or not.
"""

from __future__ import annotations

import os
import threading

from sparc.audit.matcher import Matcher
from sparc.errors import LimitExceeded, NotReadable, SavError

__all__ = ["RawSearch"]

_WINDOW = 4 << 20
# Random data holds some 60 candidates in a megabyte; nearly all fail the first test.
_MAX_CANDIDATES = 1 << 20


class RawSearch(threading.Thread):
    """After join(): `hits` are (file offset, pattern), `candidates` (file offset, kind, sure)."""

    def __init__(self, fd: int, size: int, path: str, matcher: Matcher) -> None:
        super().__init__(name="raw search", daemon=True)
        self._fd = fd
        self._size = size
        self._path = path
        self._matcher = matcher
        self.hits: list[tuple[int, int]] = []
        self.candidates: list[tuple[int, int, bool]] = []
        self.problem: SavError | NotReadable | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._search()
        except BaseException as error:  # handed to whoever joins
            self.error = error

    def result(self) -> None:
        """Wait for the end; raises what went wrong, but for `problem`."""
        self.join()
        if self.error is not None:
            raise self.error

    def _search(self) -> None:
        # A candidate at the end of a window must still be tried on some of what follows.
        keep = max(self._matcher.longest - 1, 64)
        buf = bytearray(min(_WINDOW, self._size) + keep)
        view = memoryview(buf)
        tail = offset = 0
        while offset < self._size:
            try:
                count = os.preadv(self._fd, [view[tail:]], offset)
            except OSError as error:
                raise NotReadable(self._path, error.strerror or str(error)) from error
            if not count:
                return
            base, end = offset - tail, tail + count
            hits, candidates = self._matcher.scan(view[:end], tail)
            self.hits += [(base + start, pattern) for start, pattern in hits]
            if len(self.candidates) + len(candidates) <= _MAX_CANDIDATES:
                self.candidates += [(base + start, kind, sure) for start, kind, sure in candidates]
            else:
                self.problem = LimitExceeded(
                    "compressed streams", _MAX_CANDIDATES, len(self.candidates), base
                )
            offset += count
            tail = min(keep, end)
            view[:tail] = view[end - tail : end]
