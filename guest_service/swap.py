"""Swap: what processes have there is brought back, and where it was is overwritten.

No checkpoint is taken while any swap is on: then no page can go there between looking and parking.
What was swapped out stays in its slot, on a disk or compressed in memory, even when the process
has its page back; so an area is overwritten whenever anything at all was swapped out since it last
was. The kernel's counters tell.
"""

from __future__ import annotations

import contextlib
import importlib
import os

from guest_service import helper, protocol
from guest_service.helper import Failed
from guest_service.swap_table import Area, areas, swapped_out
from sparc.printable import printable

__all__ = ["Swap", "swap_trouble"]

_ON_SECONDS = 60.0


class Swap:
    """All the swap of the machine. `path`: a file that says what is to be put on again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._cleared_at = 0
        self._off: list[Area] = []

    def recover(self) -> None:
        """Put on what an earlier instance took off and had no time to put back."""
        with contextlib.suppress(OSError, protocol.BadRequest, TypeError, ValueError):
            with open(self._path, "rb") as file:
                told = protocol.decode(file.read()).get("off")
            if isinstance(told, list):
                self._off = [Area(str(path), 0, int(priority)) for path, priority in told]
        with contextlib.suppress(Failed):
            self.put_on()

    def needs_clearing(self) -> bool:
        """Whether anything may be in swap that was not overwritten."""
        if not areas():
            return False
        # Here, so that no child has to import it while a host waits.
        importlib.import_module("guest_service.swap_areas")
        return swapped_out() != self._cleared_at

    def take_off(self, seconds: float) -> None:
        """Take all of it off, and leave nothing in it. `put_on` must follow.

        Raises Failed, all being on again as far as that can be: swap-room (`need`, `free` in KiB:
        memory is too small for what is in swap), swap-late, swap-area (`path`: cannot be used),
        swap (anything else; `why` in a word, or `errno`).
        """
        now = areas()
        if not now:
            return
        _check_room(now)
        self._save([*self._off, *now])
        self._off += now
        cleared_at = self._cleared_at
        try:
            told = helper.run(lambda: _cleared(now, cleared_at), seconds)
        except Failed as failed:
            with contextlib.suppress(Failed):
                self.put_on()
            raise _worded(failed) from None
        if isinstance(told, int):
            self._cleared_at = told

    def put_on(self) -> None:
        """Put on again what was taken off. Raises Failed."""
        if not self._off:
            return
        active = {area.path for area in areas()}
        off = [area for area in self._off if area.path not in active]
        self._off = []
        if off:
            try:
                helper.run(lambda: _put_on(off), _ON_SECONDS)
            except Failed as failed:
                raise _worded(failed) from None
            finally:
                self._save([])
        else:
            self._save([])

    def _save(self, off: list[Area]) -> None:
        """Raises Failed."""
        told = [[area.path, area.priority] for area in off]
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._path, flags, 0o600)
            try:
                os.write(fd, protocol.encode({"off": told}))
            finally:
                os.close(fd)
        except OSError as error:
            raise Failed("swap", why="record", errno=error.errno) from None


def swap_trouble(failed: Failed) -> str:
    """A failure of it, for the log."""
    fields = failed.fields
    number = fields.get("errno")
    told = os.strerror(number) if isinstance(number, int) else str(fields.get("why", ""))
    path = str(fields.get("path", ""))
    return " ".join(text for text in (failed.code, printable(path), told) if text)


def _worded(failed: Failed) -> Failed:
    if failed.code.startswith("swap"):
        return failed
    if failed.code == "late":
        return Failed("swap-late")
    return Failed("swap", **{"why": failed.code, **failed.fields})


def _check_room(now: list[Area]) -> None:
    need = sum(area.used for area in now)
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                free = int(line.split()[1])
                if need > free:
                    raise Failed("swap-room", need=need, free=free)


# In the child: so these are imported by it alone.


def _cleared(now: list[Area], cleared_at: int) -> int:
    from guest_service import swap_areas

    return swap_areas.cleared(now, cleared_at)


def _put_on(off: list[Area]) -> None:
    from guest_service import swap_areas

    swap_areas.put_on(off)
