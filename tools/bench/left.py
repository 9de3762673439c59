"""How much of a saved state is what had to be left in it.

What is left: the units of all devices, and each page that is not zero and that the guest's manifest
does not name, as VirtualBox stores it. All else of the file is what the dropped pages still cost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sparc.sav import c_pgm
from sparc.sav.index import RAM, RUN_STRIDE
from sparc.sav.manifest import read_manifest
from sparc.sav.record import record_size
from sparc.sav.state import SavedState

__all__ = ["what_is_left"]


def what_is_left(path: Path) -> dict[str, int]:
    """In bytes of the file: ``left`` as above, ``named``: pages that the manifest drops and that
    are not zero all the same; and ``sav``, the file.
    """
    with SavedState(path) as state:
        manifest = read_manifest(state)
        dropped = np.flatnonzero(manifest.drop)
        named = set(dropped[_has_content(state, dropped)].tolist())
        pages = unwanted = 0
        for space in state.spaces():
            for page in state.index.pages(space).tolist():
                place = state.index.place(page, space)
                if place is None or not place.offset:
                    continue
                size = _stored(state, place.offset)
                pages += size
                unwanted += size if space == RAM and page in named else 0
        devices = sum(unit.stored for unit in state.units if unit.name != "pgm")
        return {"left": devices + pages - unwanted, "named": unwanted, "sav": state.size}


def _has_content(state: SavedState, pages: np.ndarray) -> np.ndarray:
    places = (state.index.place(page) for page in pages.tolist())
    return np.array([bool(place and place.offset) for place in places], bool)


def _stored(state: SavedState, offset: int) -> int:
    """Bytes of a page's record, with the one before it that says which page it is."""
    head = state.stored(offset, 8)
    size, digits = record_size(head, 1)
    return RUN_STRIDE - 4 - c_pgm.PAGE + 1 + digits + size
