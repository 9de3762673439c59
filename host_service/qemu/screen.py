"""What of video memory may be saved, a page at a time, when the screen is kept out.

In text mode a VGA has four bytes for each character: the character, its colours, a row of the font
and nothing; the first 256 KB are that, on QEMU's VGA as on any.
"""

from __future__ import annotations

__all__ = ["blank_all", "blank_text"]

_TEXT_BYTES = 256 << 10
_FONT = bytes([0, 0, 0xFF, 0])


def blank_all(offset: int, data: bytes) -> bytes:
    """Nothing."""
    return bytes(len(data))


def blank_text(offset: int, data: bytes) -> bytes:
    """The fonts, which text cannot be shown without."""
    if offset >= _TEXT_BYTES:
        return bytes(len(data))
    mask = int.from_bytes(_FONT * (len(data) // len(_FONT)), "big")
    return (int.from_bytes(data, "big") & mask).to_bytes(len(data), "big")
