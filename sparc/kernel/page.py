"""`struct page`: what the kernel has each page frame for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import drgn
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Pages"]

_BLOCK = 512
_ANON, _KSM = 0x1, 0x3


class Pages:
    """Reads blocks of `struct page` as they are asked for."""

    def __init__(self, program: drgn.Program) -> None:
        self._program = program
        self._type = program.type("struct page")
        self.size: int = drgn.sizeof(self._type)
        self.base: int = program["vmemmap"].value_()
        self._blocks: dict[int, npt.NDArray[np.uint8]] = {}

    def number(self, page: drgn.Object) -> int:
        """The page frame of a `struct page *`."""
        return int(page.value_() - self.base) // self.size

    def _struct(self, frame: int) -> npt.NDArray[np.uint8]:
        block, inside = divmod(frame, _BLOCK)
        if block not in self._blocks:
            size = _BLOCK * self.size
            data = self._program.read(self.base + block * size, size)
            self._blocks[block] = np.frombuffer(data, np.uint8).reshape(_BLOCK, self.size)
        found: npt.NDArray[np.uint8] = self._blocks[block][inside]
        return found

    def field(self, frame: int, name: str, size: int = 8) -> int:
        """An unsigned field of one page."""
        at = self._offsets[name]
        return int.from_bytes(self._struct(frame)[at : at + size].tobytes(), "little")

    def offset(self, name: str) -> int:
        """Where a field stands in `struct page`."""
        return self._offsets[name]

    @cached_property
    def _offsets(self) -> dict[str, int]:
        names = ("flags", "mapping", "lru", "private", "_refcount", "_mapcount")
        return {name: drgn.offsetof(self._type, name) for name in names}

    def head(self, frame: int) -> int:
        """The first page frame of the compound page that a frame is in; itself if in none."""
        link = self.field(frame, "lru")
        if not link & 1:
            return frame
        own, is_mask = self.base + frame * self.size, link >> 32 == 0xFFFF_FFFF
        return ((own & link if is_mask else link - 1) - self.base) // self.size

    def anonymous(self, frame: int) -> bool:
        """Whether it is memory of programs that is in no file, and not merged with others' (KSM).

        Only of frames that a process maps: in others, the field has other meanings.
        """
        return self.field(self.head(frame), "mapping") & _KSM == _ANON

    def merged(self, frame: int) -> bool:
        """Whether it is one page for all that had the same content (KSM)."""
        return self.field(self.head(frame), "mapping") & _KSM == _KSM
