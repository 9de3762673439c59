"""The guest's screen in a saved state: what is written in video memory, and pictures of it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparc.abi import PAGE_SIZE
from sparc.sav.state import SavedState

__all__ = ["picture_shows_something", "written"]

# Text mode: a character, its colours and two planes of fonts, of every other address.
_CELL_BYTES = 8
_UNIT = "DisplayScreenshot"
_HEAD = 8
_PNG, _PNG_HEAD = 1, 8


def written(path: Path, secrets: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Each secret (from 0) and offset in video memory where it is written in text mode."""
    with SavedState(path) as state:
        for space in state.spaces():
            if space.name != "mmio2":
                continue
            pages = range(state.memory.mmio2[space.id].size // PAGE_SIZE)
            cells = b"".join(state.space_page(space, page) for page in pages)[::_CELL_BYTES]
            for number, secret in enumerate(secrets):
                at = cells.find(secret.encode())
                while at >= 0:
                    yield number, at * _CELL_BYTES
                    at = cells.find(secret.encode(), at + 1)


def picture_shows_something(path: Path) -> bool:
    """Whether the thumbnail or the screenshot is anything but black."""
    with SavedState(path) as state:
        content = state.unit_bytes(_UNIT)
    (pictures,) = struct.unpack_from("<I", content)
    at = 4
    for _ in range(pictures):
        # The size counts width and height, also where there is no picture and neither is there.
        size, kind = struct.unpack_from("<II", content, at)
        at += _HEAD
        if size > _HEAD:
            if _lit(content[at + _HEAD : at + size], kind):
                return True
            at += size
    return False


def _lit(image: bytes, kind: int) -> bool:
    if kind != _PNG:
        return any(image)
    at, packed, width = _PNG_HEAD, b"", 0
    while at < len(image):
        length, name = struct.unpack_from(">I4s", image, at)
        data = image[at + 8 : at + 8 + length]
        if name == b"IHDR":
            width, _, depth, colours = struct.unpack_from(">IIBB", data)
            assert (depth, colours) == (8, 2), "VirtualBox writes 24 bits a pixel"
        packed += data if name == b"IDAT" else b""
        at += 12 + length
    rows, stride = zlib.decompress(packed), 1 + 3 * width
    # Each row begins with the number of its filter; all of these leave black as zeros.
    return any(any(rows[row + 1 : row + stride]) for row in range(0, len(rows), stride))
