"""Writes a saved state anew with some of its records changed, and all that depends on them right.

Nothing else can change: every record keeps the length of its content, so that units, pages and
what VirtualBox reads from them stay where they were. What moves are the records' own lengths in
the file, and with them offsets, lengths of units, and every checksum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lzf
from isal import isal_zlib

from sparc.errors import Damaged, NotReadable
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RUN_STRIDE
from sparc.sav.record import decode_record, record_size
from sparc.sav.state import SavedState

__all__ = ["Edit", "encode_record", "splice"]

Progress = Callable[[int, int], None]

_WINDOW = 8 << 20
# The longest record, and its header.
_MARGIN = (1 << 16) + 16
_PIECES = 512
_LARGEST_SIZE = c_ssm.BLOCK // 1024
_ZERO_PAGE = bytes([c_ssm.REC_FIXED | c_ssm.REC_IMPORTANT | c_ssm.REC_ZERO, 1, _LARGEST_SIZE])
# Between two pages of a run stands the type of the second.
_BETWEEN = bytes([c_ssm.REC_FIXED | c_ssm.REC_IMPORTANT | c_ssm.REC_RAW, 1, c_pgm.RAM_RAW])


@dataclass(frozen=True, slots=True)
class Edit:
    """A change to the record at a file `offset`: pieces to put into its content, by their offset
    in it; without any, it all becomes zeros. `count` pages of a run, RUN_STRIDE apart, then do."""

    offset: int
    pieces: tuple[tuple[int, bytes], ...] = ()
    count: int = 1


def encode_record(data: bytes, *, compress: bool) -> bytes:
    """A record with this content (at most 65535 bytes), as VirtualBox stores such."""
    flags = c_ssm.REC_FIXED | c_ssm.REC_IMPORTANT
    length = len(data)
    whole = length % 1024 == 0 and 0 < length <= c_ssm.BLOCK
    if whole and data == bytes(length):
        return bytes([flags | c_ssm.REC_ZERO, 1, length // 1024])
    if compress and whole:
        packed = lzf.compress(data, length - length // 16)
        if packed is not None:
            size = len(packed) + 1
            # VirtualBox writes these lengths in three bytes whatever they are.
            digits = bytes([0xE0 | size >> 12, 0x80 | size >> 6 & 0x3F, 0x80 | size & 0x3F])
            return bytes([flags | c_ssm.REC_LZF, *digits, length // 1024]) + bytes(packed)
    if length < 0x80:
        digits = bytes([length])
    elif length < 0x800:
        digits = bytes([0xC0 | length >> 6, 0x80 | length & 0x3F])
    else:
        digits = bytes([0xE0 | length >> 12, 0x80 | length >> 6 & 0x3F, 0x80 | length & 0x3F])
    return bytes([flags | c_ssm.REC_RAW]) + digits + data


def splice(
    state: SavedState, edits: Iterable[Edit], fd: int, progress: Progress | None = None
) -> None:
    """Write `state` with `edits`, which are in the order of the file, to an empty file.

    Memory is bounded whatever the state's size is; `progress` gets bytes read and bytes in all.
    Raises NotReadable (read errors), Damaged (an edit that hits no record of the kind), OSError.
    """
    _Splice(state, edits, fd, progress).run()


class _Splice:
    def __init__(
        self, state: SavedState, edits: Iterable[Edit], fd: int, progress: Progress | None
    ) -> None:
        self.state = state
        self.edits = iter(edits)
        self.fd = fd
        self.progress = progress
        self.total = state.size
        # The window over the old file: buf[0] is at `base`, `end` bytes are there.
        self._buf = bytearray(min(_WINDOW, self.total) + _MARGIN)
        self._view = memoryview(self._buf)
        self._base = self._end = 0
        self.at = 0  # the old file is written up to here
        # What was written: its length and checksum, and what waits to be.
        self.offset = self.crc = 0
        self._waiting: list[bytes | memoryview] = []
        self.moved: dict[int, int] = {}

    def run(self) -> None:
        edit = next(self.edits, None)
        for unit in self.state.units:
            self._copy(unit.offset)
            self._unit_header(unit.offset, unit.data_offset - unit.offset)
            start = self.offset
            end = unit.data_offset + unit.stored - c_ssm.terminator.sizeof()
            while edit is not None and edit.offset < end:
                self._copy(edit.offset)
                self._edit(edit)
                edit = next(self.edits, None)
            self._copy(end)
            self._terminator(start)
        if edit is not None:
            raise Damaged("record to change, it is in no unit", edit.offset)
        self._unit_header(self.at, 44)
        self._directory()
        self._flush()

    # -- the old file

    def _ahead(self, size: int) -> int:
        """Have `size` bytes (at most _MARGIN) of the old file in the window; their place in it."""
        place = self.at - self._base
        if place + size > self._end:
            self._flush()
            left = self._end - place if 0 <= place <= self._end else 0
            self._view[:left] = self._view[place : place + left]
            self._base, self._end = self.at, left
            while self._end < len(self._buf):
                try:
                    got = os.preadv(
                        self.state.fd, [self._view[self._end :]], self._base + self._end
                    )
                except OSError as error:
                    raise NotReadable(self.state.path, error.strerror or str(error)) from error
                if not got:
                    break
                self._end += got
            if self.progress is not None:
                self.progress(self.at, self.total)
            place = 0
            if self._end < size:
                raise NotReadable(self.state.path, "it became shorter meanwhile")
        return place

    def _take(self, size: int) -> bytes:
        place = self._ahead(size)
        self.at += size
        return bytes(self._view[place : place + size])

    # -- the new file

    def _put(self, data: bytes | memoryview) -> None:
        self.crc = isal_zlib.crc32(data, self.crc)
        self.offset += len(data)
        self._waiting.append(data)
        if len(self._waiting) >= _PIECES:
            self._flush()

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        wanted = sum(map(len, waiting))
        done = os.writev(self.fd, waiting) if waiting else 0
        if done < wanted:
            left = memoryview(b"".join(waiting))[done:]
            while left:
                left = left[os.write(self.fd, left) :]

    def _copy(self, end: int) -> None:
        """Copy the old file up to `end`."""
        while self.at < end:
            place = self._ahead(1)
            size = min(end - self.at, self._end - place)
            self._put(self._view[place : place + size])
            self.at += size

    # -- records

    def _edit(self, edit: Edit) -> None:
        if not edit.pieces and edit.count > 1:
            self._put(_ZERO_PAGE + (_BETWEEN + _ZERO_PAGE) * (edit.count - 1))
            self.at += (edit.count - 1) * RUN_STRIDE + RUN_STRIDE - len(_BETWEEN)
            return
        place = self._ahead(min(_MARGIN, self.total - self.at))
        kind = self._buf[place] & 0x0F
        size, count = record_size(self._buf, place + 1)
        start = place + 1 + count
        if not edit.pieces and kind == c_ssm.REC_RAW and size == c_pgm.PAGE:
            self.at += 1 + count + size
            self._put(_ZERO_PAGE)
            return
        data = decode_record(kind, bytes(self._view[start : start + size]), edit.offset)
        changed = bytearray(data) if edit.pieces else bytearray(len(data))
        for at, piece in edit.pieces:
            changed[at : at + len(piece)] = piece
        if len(changed) != len(data):
            raise Damaged("record to change, it is shorter", edit.offset, len(changed), len(data))
        self.at += 1 + count + size
        self._put(encode_record(bytes(changed), compress=kind != c_ssm.REC_RAW))

    # -- what holds offsets and checksums

    def _stream_crc(self) -> int:
        return self.crc if self.state.header.stream_crc else 0

    def _unit_header(self, offset: int, size: int) -> None:
        self.moved[offset] = self.offset
        data = self._take(size)
        raw = c_ssm.unit_header.parse(data)
        raw.offset, raw.stream_crc, raw.crc = self.offset, self._stream_crc(), 0
        name = data[c_ssm.unit_header.sizeof() :]
        raw.crc = isal_zlib.crc32(c_ssm.unit_header.build(raw) + name)
        self._put(c_ssm.unit_header.build(raw) + name)

    def _terminator(self, start: int) -> None:
        raw = c_ssm.terminator.parse(self._take(c_ssm.terminator.sizeof()))
        self._put(bytes([raw.type, raw.size]))
        raw.stream_crc, raw.unit_size = self._stream_crc(), self.offset - start + 14
        self._put(c_ssm.terminator.build(raw)[2:])

    def _directory(self) -> None:
        head = self._take(c_ssm.directory.sizeof())
        raw = c_ssm.directory.parse(head)
        entries = b"".join(self._entries(raw.entries))
        raw.crc = 0
        raw.crc = isal_zlib.crc32(c_ssm.directory.build(raw) + entries)
        self._put(c_ssm.directory.build(raw) + entries)
        raw = c_ssm.footer.parse(self._take(c_ssm.footer.sizeof()))
        raw.offset, raw.stream_crc, raw.crc = self.offset, self._stream_crc(), 0
        raw.crc = isal_zlib.crc32(c_ssm.footer.build(raw))
        self._put(c_ssm.footer.build(raw))

    def _entries(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            entry: Any = c_ssm.directory_entry.parse(self._take(c_ssm.directory_entry.sizeof()))
            entry.offset = self.moved[entry.offset]
            yield c_ssm.directory_entry.build(entry)
