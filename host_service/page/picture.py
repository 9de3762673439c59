"""A picture of the map: a PNG with a palette, as small as the page needs it."""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from host_service.page.memory_map import Class

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["COLOURS", "Picture", "draw"]

# 4 bits each and hardly compressible at worst: 350 kB in the page.
_POINTS = 1 << 19

# Told apart on white and on black, and by those who do not tell red from green (Okabe and Ito's,
# but for greys). Where there is no page nothing is drawn.
COLOURS: dict[Class, str] = {
    Class.NONE: "#000000",
    Class.ZERO: "#b8bcc2",
    Class.SAVED: "#6b7078",
    Class.FREE_SAVED: "#f0e442",
    Class.FREE_OUT: "#56b4e9",
    Class.OUT: "#009e73",
    Class.CHANNELS: "#0072b2",
    Class.TERMINALS: "#cc79a7",
    Class.REGISTERS: "#e69f00",
    Class.PARTS: "#8a6d3b",
    Class.NOT_OUT: "#d50000",
}


@dataclass(frozen=True)
class Picture:
    """A PNG; each point stands for `pages` of RAM, in rows from the lowest address on."""

    png: bytes
    width: int
    height: int
    pages: int


def draw(classes: npt.NDArray[np.uint8]) -> Picture:
    """Draw the classes of pages in their order."""
    pages = 1
    while -(-len(classes) // pages) > _POINTS:
        pages *= 2
    points = -(-len(classes) // pages)
    width = 1 << math.ceil(math.log2(math.sqrt(max(points, 1))))
    height = max(-(-points // width), 1)
    whole = np.zeros(width * height * pages, np.uint8)
    whole[: len(classes)] = classes
    field = whole.reshape(height, width, pages).max(axis=2)
    return Picture(_png(field), width, height, pages)


def _png(field: npt.NDArray[np.uint8]) -> bytes:
    height, width = field.shape
    if width % 2:
        field = np.pad(field, ((0, 0), (0, 1)))
    packed = field[:, ::2] << 4 | field[:, 1::2]
    # Each row begins with its filter: none.
    rows = np.pad(packed, ((0, 0), (1, 0))).tobytes()
    palette = b"".join(bytes.fromhex(COLOURS[kind][1:]) for kind in Class)
    head = struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)
    parts = [
        (b"IHDR", head),
        (b"PLTE", palette),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
