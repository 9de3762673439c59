"""How much memory a process takes while something happens."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from types import TracebackType

__all__ = ["Footprint"]

_STEP = 0.002


class Footprint:
    """While it is entered: the most of `locked` (VmLck) and `anonymous` (RssAnon), in bytes, beyond
    what there was at first.
    """

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self.locked = self.anonymous = 0

    def __enter__(self) -> Footprint:
        self._first = self._now()
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._ended.wait(_STEP):
            locked, anonymous = self._now()
            self.locked = max(self.locked, locked - self._first[0])
            self.anonymous = max(self.anonymous, anonymous - self._first[1])

    def _now(self) -> tuple[int, int]:
        found = dict(re.findall(r"^(VmLck|RssAnon):\s+(\d+) kB", self._status.read_text(), re.M))
        return int(found["VmLck"]) << 10, int(found["RssAnon"]) << 10
