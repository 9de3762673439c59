"""Takes the screen out of a saved state: video memory, and VirtualBox's pictures of it.

Source: the VirtualBox 7.1 sources, src/VBox/Devices/Graphics/DevVGA.cpp and
src/VBox/Main/src-client/DisplayImpl.cpp, checked against files of 7.2.22.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from sparc.errors import UnitNotFound
from sparc.sav import c_pgm
from sparc.sav.changes import Changes
from sparc.sav.index import Space
from sparc.sav.ssm import Unit
from sparc.sav.state import SavedState
from sparc.scrub.report import Report

__all__ = ["take_out_screen"]

PAGE = c_pgm.PAGE
KIND = "screen"

# In text mode these bytes are four planes, byte by byte in turn: characters, their colours, fonts
# and nothing. What is above is left from another mode.
_TEXT_BYTES = 256 << 10
_PLANES, _WRITTEN, _FONT = 4, 2, 2
# Where the registers stand in the unit `vga`: Graphics[6], and Bochs' extensions ID and ENABLE.
_VGA_VERSIONS = range(27, 35)
_GRAPHICS_MODE, _VBE_ID, _VBE_ENABLE = 28, 1107, 1115
_PICTURES_VERSION = 0x10001
_THUMBNAIL, _PNG = 0, 1
# Smaller values are not stored in records of their own.
_LEAST_PICTURE = 513


def take_out_screen(changes: Changes, report: Report) -> None:
    """Blank all of it; what is not understood is named as left."""
    state = changes.state
    _video_memory(changes, report)
    _device_pictures(changes, report)
    try:
        unit = state.unit("DisplayScreenshot")
    except UnitNotFound:
        return
    if unit.version != _PICTURES_VERSION:
        report.leave(KIND, "VirtualBox's picture of it is in an unknown form")
        return
    content = b"".join(state.unit_content(unit))
    blank = _blank_pictures(content)
    if blank is None:
        report.leave(KIND, "VirtualBox's picture of it is in an unknown form")
    elif blank != content:
        changes.write_unit(unit, 0, blank)
        report.count(KIND, bytes_=len(content))


# -- video memory


def _video_memory(changes: Changes, report: Report) -> None:
    state = changes.state
    ranges = [r for r in state.memory.mmio2.values() if r.device == "vga"]
    if not any(r.description == "VRam" for r in ranges):
        report.leave(KIND, "no video memory was found")
    for one in ranges:
        space = Space("mmio2", one.id)
        pages = state.index.pages(space).tolist()
        if one.description != "VRam":
            report.leave(KIND, f"commands to the graphics card ({one.description})")
            continue
        keep_fonts = _is_text(state, space)
        for page in pages:
            if keep_fonts and page < _TEXT_BYTES // PAGE:
                data = bytearray(state.space_page(space, page))
                for plane in range(_WRITTEN):
                    data[plane::_PLANES] = bytes(PAGE // _PLANES)
                changes.write(page * PAGE, bytes(data), space)
            else:
                changes.blank([page], space)
        report.count(KIND, pages=len(pages))


def _is_text(state: SavedState, space: Space) -> bool:
    """Whether the screen shows text by the card's own fonts, which are to stay then.

    Both the registers and what is in the fonts' place must say so: in a picture, that is a colour.
    """
    try:
        unit = state.unit("vga")
    except UnitNotFound:
        return False
    data = b"".join(state.unit_content(unit))
    if unit.version not in _VGA_VERSIONS or len(data) < _VBE_ENABLE + 2:
        return False
    vbe = int.from_bytes(data[_VBE_ID : _VBE_ID + 2], "little")
    if vbe & 0xFFF0 != 0xB0C0 or data[_GRAPHICS_MODE] & 1 or data[_VBE_ENABLE] & 1:
        return False
    fonts = b"".join(
        state.space_page(space, page)[_FONT::_PLANES]
        for page in range(8)
        if state.place(page, space) is not None
    )
    # Each character has 32 bytes, of which at most 16 rows are drawn.
    lower = b"".join(fonts[i + 16 : i + 32] for i in range(0, len(fonts), 32))
    return any(fonts) and not any(lower)


# -- pictures in the device's state


def _device_pictures(changes: Changes, report: Report) -> None:
    """Screens that are not in video memory: each stands behind its own size."""
    for unit in changes.state.units:
        if unit.name == "vga":
            for offset, size in _sized(changes.state, unit):
                changes.write_unit(unit, offset, bytes(size))
                report.count(KIND, bytes_=size)


def _sized(state: SavedState, unit: Unit) -> Iterator[tuple[int, int]]:
    """(offset, size) of what is stored in records of its own right behind its size."""
    records = list(state.unit_content(unit))
    starts = [0]
    for data in records:
        starts.append(starts[-1] + len(data))
    number = 1
    while number < len(records):
        size = int.from_bytes(records[number - 1][-4:], "little")
        if size >= _LEAST_PICTURE and starts[number] + size in starts[number + 1 :]:
            yield starts[number], size
            number = starts.index(starts[number] + size)
        number += 1


# -- VirtualBox's pictures


def _blank_pictures(content: bytes) -> bytes | None:
    """The content of `DisplayScreenshot` with black pictures of the same sizes; None if unknown."""
    out = bytearray(content)
    if len(content) < 4:
        return None
    count = int.from_bytes(content[:4], "little")
    at = 4
    for _ in range(count):
        if at + 8 > len(content):
            return None
        size, kind = struct.unpack_from("<II", content, at)
        at += 8
        if size <= 8:
            continue
        if at + size > len(content) or kind not in (_THUMBNAIL, _PNG):
            return None
        width, height = struct.unpack_from("<II", content, at)
        picture = bytes(size - 8)
        if kind == _PNG:
            black = _black_png(width, height)
            if len(black) <= len(picture):
                picture = black.ljust(len(picture), b"\0")
        out[at + 8 : at + size] = picture
        at += size
    return bytes(out) if at == len(content) else None


def _black_png(width: int, height: int) -> bytes:
    """A PNG of nothing but black; b"" where it would be absurdly large."""
    if not 0 < width * height <= 1 << 24:
        return b""
    # One bit a pixel, and in front of each row the number of its filter.
    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)),
        (b"IDAT", rows),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
