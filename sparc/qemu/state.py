"""What QEMU saved, as a library user sees it: memory by address, as of VirtualBox's files."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from sparc.errors import PageNotStored
from sparc.qemu.walk import StreamWalk
from sparc.sav import c_pgm
from sparc.sav.index import Place
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState

__all__ = ["StreamState"]

_PIECE = 1 << 20


class StreamState(SavedState):
    """A file that QEMU saved a VM into, open for random access; see SavedState.

    There are no checksums to verify. Its one unit, "devices", is what all devices saved.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True) -> None:
        with StreamWalk(path) as walk:
            walk.run()
            for problem in walk.problems:
                raise problem
            self._adopt(walk)

    @property
    def _head(self) -> int:
        return self.index.stride - c_pgm.PAGE

    def record(self, start: int) -> tuple[int, int, bool]:
        """See SavedState."""
        return self._head, c_pgm.PAGE, True

    def content(self, place: Place) -> bytes:
        """See SavedState."""
        if not place.offset:
            return bytes(c_pgm.PAGE)
        data = self.stored(place.offset + self._head, c_pgm.PAGE)
        if len(data) < c_pgm.PAGE:
            raise PageNotStored(place.offset)
        return data

    def unit_content(self, unit: Unit) -> Iterator[bytes]:
        """See SavedState."""
        for at in range(0, unit.stored, _PIECE):
            yield self.stored(unit.data_offset + at, min(_PIECE, unit.stored - at))

    def _run(self, page: int, count: int) -> bytes:
        place = self.index.place(page)
        assert place is not None
        stride = self.index.stride
        data = self.stored(place.offset, count * stride)
        if len(data) < count * stride:
            raise PageNotStored(page * c_pgm.PAGE)
        whole = np.ndarray((count, c_pgm.PAGE), np.uint8, data, self._head, (stride, 1))
        return whole.tobytes()
