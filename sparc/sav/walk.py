"""One pass over a whole saved state: everything that is read is read here."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Self

from sparc.errors import Damaged, SavError
from sparc.sav.memory import Memory
from sparc.sav.pgm import PageReader
from sparc.sav.record import read_record
from sparc.sav.ssm import (
    Directory,
    Header,
    Unit,
    read_directory,
    read_header,
    read_unit,
)
from sparc.sav.stream import Stream

__all__ = ["Walk"]

# VirtualBox numbers them with 16 bits in the directory; a live save has some more passes.
_MAX_UNITS = 1 << 18


class Walk:
    """Reads a saved state from its first byte to its last.

    What is wrong goes to `problems`: wrong checksums and the walk goes on; anything that hides
    where the next item starts ends it (`complete` stays False). Subclasses see the content:
    `unit_data` gets the decoded payload of every unit but pgm, `pages` the rows of each window.
    """

    # Anyone can make a file with a wrong checksum in each unit.
    MAX_PROBLEMS = 100

    def __init__(self, source: str | os.PathLike[str] | Stream) -> None:
        self.stream = source if isinstance(source, Stream) else Stream(source)
        self.units: list[Unit] = []
        self.problems: list[SavError] = []
        self.header: Header | None = None
        self.memory: Memory | None = None
        self.directory: Directory | None = None
        self.complete = False
        # Called now and then with bytes read and bytes in all.
        self.on_progress: Callable[[int, int], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    @property
    def clean(self) -> bool:
        """Whether all was read and every checksum was right."""
        return self.complete and not self.problems

    def unit_data(self, unit: Unit, data: bytes, offset: int) -> None:
        """Called with each piece of a unit's content, `offset` bytes from the content's start."""

    def pages(self, memory: Memory, first_row: int) -> None:
        """Called with new rows of `memory.index`, their data still in the stream's buffer."""

    def unit_end(self, unit: Unit) -> None:
        """Called after each unit that was read to its end."""

    def _progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.stream.tell(), self.stream.size)

    def bad(self, problem: SavError) -> None:
        """Record a problem."""
        if len(self.problems) < self.MAX_PROBLEMS:
            self.problems.append(problem)

    def run(self) -> Self:
        """Walk. Raises NotReadable, NotASavedState, Unsupported (format); nothing else."""
        self.header = read_header(self.stream, self.bad)
        try:
            self._units(self.header)
            self.complete = True
        except SavError as error:
            # What ended the walk comes first: the checksums after it follow from it.
            # Without its frames: they refer to this object, and it to them, with all its buffers.
            error.__cause__ = error.__context__ = None
            self.problems.insert(0, error.with_traceback(None))
        return self

    def _units(self, header: Header) -> None:
        pages = PageReader(self.stream, header, self.bad, self._rows)
        try:
            while (unit := read_unit(self.stream, header, self.bad)) is not None:
                self.units.append(unit)
                if len(self.units) > _MAX_UNITS:
                    raise Damaged("number of units", unit.offset, _MAX_UNITS, len(self.units))
                if unit.name == "pgm":
                    pages.read(unit)
                else:
                    self._content(unit, header)
                self.unit_end(unit)
                self._progress()
        finally:
            self.memory = pages.memory
        final = [u for u in self.units if u.final and u.name == "pgm"]
        if len(final) != 1:
            raise Damaged("units, there must be one final pgm", self.stream.tell(), 1, len(final))
        self.directory = read_directory(self.stream, header, self.units, self.bad)

    def _content(self, unit: Unit, header: Header) -> None:
        while (data := read_record(self.stream, unit, header, self.bad)) is not None:
            self.unit_data(unit, data, unit.content - len(data))

    def _rows(self, memory: Memory, first_row: int) -> None:
        self.memory = memory
        self.pages(memory, first_row)
        self._progress()
