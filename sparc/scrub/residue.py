"""Takes out of a saved state what an audit found in it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from sparc.audit import report as audit
from sparc.errors import PageNotStored
from sparc.sav import c_pgm
from sparc.sav.changes import Changes
from sparc.sav.index import RAM, Space
from sparc.sav.ssm import Unit
from sparc.scrub.report import Report

__all__ = ["erase"]

PAGE = c_pgm.PAGE
KIND = "secrets"
# What VirtualBox compares with the machine that it restores: zeros there and it refuses.
_COMPARED = {"SSM", "ConsoleData", "DisplayData", "HGCM", "pdm", "SSMLiveControl", "pgm"}
_MOST = 64 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def erase(changes: Changes, found: audit.Report, report: Report, *, whole_pages: bool) -> bool:
    """Make what was found zeros: its own bytes, or the pages it is in. False if nothing was.

    Where it stands inside compressed data, all of that goes: no part of it can be changed. Copies
    that a later pass replaced need nothing: `Changes` takes out all of them.
    """
    eraser = _Eraser(changes, report, whole_pages=whole_pages)
    done = False
    for finding in found.findings:
        if finding.superseded:
            report.note("it stood in earlier copies of pages, which are taken out in any case")
            done = True
        else:
            done |= eraser.one(finding)
    eraser.tell()
    return done


class _Eraser:
    def __init__(self, changes: Changes, report: Report, *, whole_pages: bool) -> None:
        self.changes = changes
        self.state = changes.state
        self.report = report
        self.whole_pages = whole_pages
        self.pages: set[tuple[Space, int]] = set()
        self.bytes = 0

    def one(self, finding: audit.Finding) -> bool:
        """Whether its place can be changed, and now is."""
        if finding.place == "unit":
            return self._in_unit(finding)
        space = RAM if finding.place == "ram" else self._range(finding)
        if space is None:
            return False
        if finding.layers:
            self._erase(finding.address, _extent(self._from(finding.address, space)), space)
        elif finding.crosses is None:
            self._erase(finding.address, finding.size, space)
        else:
            self._erase(finding.address, finding.cut, space)
            self._erase(finding.crosses, finding.size - finding.cut, space)
        return True

    def tell(self) -> None:
        """Add to the report what was done."""
        if self.pages:
            self.report.count(KIND, pages=len(self.pages))
            self.report.note(
                "pages were zeroed whole: where they are in use, the restored guest may crash"
            )
        if self.bytes:
            self.report.count(KIND, bytes_=self.bytes)

    def _range(self, finding: audit.Finding) -> Space | None:
        """The range of a page that is not RAM, if it may be changed."""
        name, _, number = finding.name.partition("#")
        return Space(name, int(number)) if name == "mmio2" else None

    def _erase(self, address: int, size: int, space: Space) -> None:
        if not self.whole_pages:
            self.changes.erase(address, size, space)
            self.bytes += size
            return
        pages = range(address // PAGE, (address + size - 1) // PAGE + 1)
        self.changes.blank(pages, space)
        self.pages |= {(space, page) for page in pages}

    def _from(self, address: int, space: Space) -> Iterator[bytes]:
        """What stands from an address on, in pages that follow each other."""
        try:
            yield self.state.space_page(space, address // PAGE)[address % PAGE :]
            for page in range(address // PAGE + 1, address // PAGE + _MOST // PAGE):
                yield self.state.space_page(space, page)
        except PageNotStored:
            return

    def _in_unit(self, finding: audit.Finding) -> bool:
        unit = next(u for u in self.state.units if u.data_offset == finding.file_offset)
        if unit.name in _COMPARED:
            return False
        size = finding.size
        if finding.layers:
            size = _extent(self._unit_from(unit, finding.address))
        self.changes.write_unit(unit, finding.address, bytes(size))
        self.bytes += size
        self.report.note(f"the state of the device {unit.name} was changed")
        return True

    def _unit_from(self, unit: Unit, offset: int) -> Iterator[bytes]:
        at = 0
        for data in self.state.unit_content(unit):
            if at + len(data) > offset:
                yield data[max(offset - at, 0) :]
            at += len(data)


def _extent(pieces: Iterator[bytes]) -> int:
    """How many bytes the compressed stream has that begins there."""
    first = next(pieces, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from pieces

    return _png(rest()) if first.startswith(_PNG) else _deflated(rest())


def _deflated(pieces: Iterator[bytes]) -> int:
    """Of a gzip or zlib stream, up to its end, or to the end of the piece with an error in it."""
    stream, used = zlib.decompressobj(47), 0
    for piece in pieces:
        used += len(piece)
        while piece:
            try:
                stream.decompress(piece, 1 << 18)
            except zlib.error:
                return used
            if stream.eof:
                rest = stream.unused_data
                if not rest.startswith(b"\x1f\x8b"):
                    return used - len(rest)
                stream, piece = zlib.decompressobj(47), rest
            else:
                piece = stream.unconsumed_tail
    return used


def _png(pieces: Iterator[bytes]) -> int:
    """Of a PNG, up to its last chunk, or to where no chunk is."""
    data, at, chunk = bytearray(), 0, len(_PNG)
    for piece in pieces:
        data += piece
        while chunk - at + 8 <= len(data):
            size = int.from_bytes(data[chunk - at :][:4])
            kind = data[chunk - at + 4 :][:4]
            if not kind.isalpha() or size > _MOST:
                return at + len(data)
            chunk += 12 + size
            if kind == b"IEND":
                return chunk
            keep = min(chunk - at, len(data))
            del data[:keep]
            at += keep
    return at + len(data)
