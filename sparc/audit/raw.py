"""Searches the bytes of the file as they are, in a process of its own.

Pages that do not compress stand in the file as they are, so this finds what is in them without
taking the file apart; and it sees every byte, whether the format was understood or not. A
process, since every match calls back into the interpreter: a thread would wait for its lock.

The file is cut into windows. The helper takes them from the front, and who waits for it (`help`)
from the back, until they meet. It maps the file, which saves a copy of all of it; should the file
become shorter meanwhile, that ends the helper by a signal, and this process only hears of it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import signal
import sys
import warnings
from array import array

from sparc.audit.matcher import PROBE, Matcher
from sparc.errors import NotReadable

__all__ = ["WINDOW", "RawFound", "RawSearch", "search_windows"]

WINDOW = 8 << 20
_DONE, _UNREADABLE, _TOO_MANY = 1, 2, 3
# How many numbers stand before a result's lists.
_HEAD = 4


class RawFound:
    """What was found in the bytes of one file, by one search or several.

    `hits` are (file offset, pattern), `candidates` (file offset, kind, sure), `saturated` as in
    Matcher, `too_many` tells that not all candidates were kept.
    """

    def __init__(self) -> None:
        self.hits: list[tuple[int, int]] = []
        self.candidates: list[tuple[int, int, bool]] = []
        self.saturated: set[int] = set()
        self.too_many = False

    def take(self, data: array[int]) -> bool:
        """Add a search's result; False, and nothing is added, if it is not a whole one."""
        if len(data) < _HEAD:
            return False
        state, hits, candidates, saturated = data[:_HEAD]
        if len(data) != _HEAD + 2 * hits + 2 * candidates + saturated:
            return False
        end = _HEAD + 2 * hits
        last = end + 2 * candidates
        flat = data[_HEAD:end]
        self.hits += zip(flat[::2], flat[1::2], strict=True)
        flat = data[end:last]
        pairs = zip(flat[::2], flat[1::2], strict=True)
        self.candidates += [(at, mark >> 1, bool(mark & 1)) for at, mark in pairs]
        self.saturated |= set(data[last:])
        self.too_many |= state == _TOO_MANY
        return True


class RawSearch(RawFound):
    """Starts searching at once; `wait` fills in the results."""

    def __init__(self, fd: int, size: int, path: str, matcher: Matcher) -> None:
        super().__init__()
        self._path = path
        self._search = _Search(fd, size, matcher)
        self._pipe, write = os.pipe()
        with warnings.catch_warnings():
            # Threads of numpy's libraries may exist; the child uses nothing of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if not self._pid:
            _child(self._search, write, self._pipe)
        os.close(write)

    def help(self) -> None:
        """Take windows from the helper's end of the file. Raises NotReadable."""
        try:
            self._search.from_back()
        except OSError as error:
            raise NotReadable(self._path, error.strerror or str(error)) from error

    def wait(self) -> None:
        """Collect the results. Raises NotReadable when the file, or the helper, failed."""
        parts = []
        while part := os.read(self._pipe, 1 << 20):
            parts.append(part)
        status = self._reap()
        data = array("q")
        raw = b"".join(parts)
        # One that was stopped may have written any part of its result.
        if status or len(raw) < _HEAD * 8 or len(raw) % 8:
            raise self._stopped()
        data.frombytes(raw)
        if data[0] == _UNREADABLE:
            raise NotReadable(self._path, os.strerror(data[1]))
        if not self.take(data):
            raise self._stopped()
        own = self._search
        if os.fstat(own.fd).st_size < own.size:
            # Where it ended inside a page that the helper had mapped, it saw zeros.
            raise NotReadable(self._path, "it became shorter meanwhile")
        self.take(own.result())

    def close(self) -> None:
        """Stop, if it still runs."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        """Wait for the helper's end; 0 if it ended well."""
        _, status = os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._pid = 0
        return status

    def _stopped(self) -> NotReadable:
        return NotReadable(self._path, "it was changed, or the search was stopped, meanwhile")


class _Search:
    """The windows of one file, shared between two processes, and what this one has found."""

    def __init__(self, fd: int, size: int, matcher: Matcher) -> None:
        self.fd = fd
        self.size = size
        self.matcher = matcher
        self.hits, self.candidates = array("q"), array("q")
        # A pattern or the start of a stream is found by where it starts, so windows overlap.
        self._overlap = max(matcher.longest, PROBE)
        # The first and the last window that nobody has taken. Each is written by one process
        # only, so at worst both take the one where they meet.
        self._left = memoryview(mmap.mmap(-1, 16)).cast("q")
        self._left[1] = (size - 1) // WINDOW

    def confine(self, windows: range) -> None:
        """Search no others; before anybody has begun."""
        self._left[0], self._left[1] = windows.start, windows.stop - 1

    def from_front(self) -> None:
        """Search windows in order."""
        left = self._left
        while (number := left[0]) <= left[1]:
            left[0] = number + 1
            start, size = self._extent(number)
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            with (
                mmap.mmap(self.fd, size, flags, mmap.PROT_READ, offset=start) as window,
                memoryview(window) as view,
            ):
                self._window(view, start)

    def from_back(self) -> None:
        """Search windows in reverse order, by reading them."""
        left = self._left
        view = memoryview(bytearray(min(WINDOW + self._overlap, self.size)))
        while (number := left[1]) >= left[0]:
            left[1] = number - 1
            start, size = self._extent(number)
            self._read(view[:size], start)
            self._window(view[:size], start)

    def _read(self, view: memoryview, start: int) -> None:
        """Fill `view`: one call may read less than is there."""
        while view:
            count = os.preadv(self.fd, [view], start)
            if not count:
                raise OSError(errno.ENODATA, "it became shorter meanwhile")
            view, start = view[count:], start + count

    def _extent(self, number: int) -> tuple[int, int]:
        start = number * WINDOW
        return start, min(WINDOW + self._overlap, self.size - start)

    def _window(self, view: memoryview, start: int) -> None:
        found, marks = self.matcher.scan(view, WINDOW)
        for at, pattern in found:
            self.hits.extend((start + at, pattern))
        for at, kind, sure in marks:
            self.candidates.extend((start + at, kind << 1 | sure))

    def result(self) -> array[int]:
        """State, numbers of hits, candidates and saturated patterns, and all of these."""
        state = _TOO_MANY if self.matcher.gave_up else _DONE
        saturated = array("q", sorted(self.matcher.saturated))
        head = [state, len(self.hits) // 2, len(self.candidates) // 2, len(saturated)]
        return array("q", head) + self.hits + self.candidates + saturated


def search_windows(fd: int, size: int, matcher: Matcher, windows: range) -> array[int]:
    """Search some of the windows, in this process alone; a result for RawFound.

    Raises OSError when the file is not as long as `size`.
    """
    search = _Search(fd, size, matcher)
    search.confine(windows)
    search.from_back()
    return search.result()


def _child(search: _Search, pipe: int, other: int) -> None:
    """Search, write the result to `pipe`, and end without the parent's cleanup."""
    try:
        os.close(other)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            search.from_front()
            result = search.result()
        except OSError as error:
            result = array("q", [_UNREADABLE, error.errno or 0, 0, 0])
        left = memoryview(result).cast("B")
        while left:
            left = left[os.write(pipe, left) :]
    except BaseException:
        if sys.flags.dev_mode:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    finally:
        os._exit(0)
