"""Searches the bytes of the file as they are, in a process of its own.

Pages that do not compress stand in the file as they are, so this finds what is in them without
taking the file apart; and it sees every byte, whether the format was understood or not. A
process, since every match calls back into the interpreter: a thread would wait for its lock.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from array import array

from sparc.audit.matcher import Matcher
from sparc.errors import NotReadable

__all__ = ["RawSearch"]

_WINDOW = 1 << 20
# Random data holds some 60 marks in a megabyte, and nearly all fail the first test.
_MAX_CANDIDATES = 1 << 20
_DONE, _UNREADABLE, _TOO_MANY = 1, 2, 3


class RawSearch:
    """Starts searching at once; `wait` fills in the results.

    `hits` are (file offset, pattern), `candidates` (file offset, kind, sure), `saturated` as in
    Matcher, `too_many` tells that not all candidates were kept.
    """

    def __init__(self, fd: int, size: int, path: str, matcher: Matcher) -> None:
        self._path = path
        self.hits: list[tuple[int, int]] = []
        self.candidates: list[tuple[int, int, bool]] = []
        self.saturated: set[int] = set()
        self.too_many = False
        self._pipe, write = os.pipe()
        with warnings.catch_warnings():
            # Threads of numpy's libraries may exist; the child uses nothing of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if not self._pid:
            _child(fd, size, matcher, write, self._pipe)
        os.close(write)

    def wait(self) -> None:
        """Collect the results. Raises NotReadable when the file, or the helper, failed."""
        parts = []
        while part := os.read(self._pipe, 1 << 20):
            parts.append(part)
        self.close()
        data = array("q")
        raw = b"".join(parts)
        if not raw or len(raw) % 8:
            raise NotReadable(self._path, "the process that searches it ended early")
        data.frombytes(raw)
        state, hits, candidates = data[:3]
        if state == _UNREADABLE:
            raise NotReadable(self._path, os.strerror(hits))
        self.too_many = state == _TOO_MANY
        at, end = 3, 3 + 2 * hits
        self.hits = list(zip(data[at:end:2], data[at + 1 : end : 2], strict=True))
        at, end = end, end + 2 * candidates
        self.candidates = [
            (offset, mark >> 1, bool(mark & 1))
            for offset, mark in zip(data[at:end:2], data[at + 1 : end : 2], strict=True)
        ]
        self.saturated = set(data[end:])

    def close(self) -> None:
        """Stop, if it still runs."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            os.close(self._pipe)
            self._pid = 0


def _child(fd: int, size: int, matcher: Matcher, pipe: int, other: int) -> None:
    """Search, write the result to `pipe`, and end without the parent's cleanup."""
    try:
        os.close(other)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            result = _search(fd, size, matcher)
        except OSError as error:
            result = array("q", [_UNREADABLE, error.errno or 0, 0])
        left = memoryview(result).cast("B")
        while left:
            left = left[os.write(pipe, left) :]
    except BaseException:
        if sys.flags.dev_mode:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    finally:
        os._exit(0)


def _search(fd: int, size: int, matcher: Matcher) -> array[int]:
    # A mark at the end of a window must still be tried on some of what follows.
    keep = max(matcher.longest, 128)
    buf = bytearray(min(_WINDOW, size) + keep)
    view = memoryview(buf)
    hits, candidates = array("q"), array("q")
    state = _DONE
    tail = offset = 0
    while offset < size:
        count = os.preadv(fd, [view[tail:]], offset)
        if not count:
            break
        base, end = offset - tail, tail + count
        # Nothing that starts in the last bytes is looked at before the next window shows the rest.
        last = offset + count >= size
        found, marks = matcher.scan(view[:end], end if last else end - keep)
        for start, pattern in found:
            hits.extend((base + start, pattern))
        for start, kind, sure in marks:
            candidates.extend((base + start, kind << 1 | sure))
        if len(candidates) > 2 * _MAX_CANDIDATES:
            del candidates[2 * _MAX_CANDIDATES :]
            state = _TOO_MANY
        offset += count
        if not last:
            tail = keep
            view[:tail] = view[end - tail : end]
    head = [state, len(hits) // 2, len(candidates) // 2]
    return array("q", head) + hits + candidates + array("q", sorted(matcher.saturated))
