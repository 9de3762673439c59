"""What a view shows at one moment: lines, tables, and the same as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sparc.printable import printable

__all__ = ["Frame", "Table", "text"]


@dataclass(frozen=True)
class Table:
    """Cells are texts from anywhere, to be made printable when they are shown.

    `numbers` are the columns to be set to the right; in the column `verdict`, if there is one,
    stands whether something is clean.
    """

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: frozenset[int] = frozenset()
    verdict: int = -1


@dataclass(frozen=True)
class Frame:
    """`lines` come before the tables, `notes` after them; `data` is for programs."""

    lines: list[str]
    tables: list[Table]
    data: dict[str, object]
    notes: list[str] = field(default_factory=list)


def text(frame: Frame) -> str:
    """The frame in plain text."""
    parts = [frame.lines, *(list(_lines(table)) for table in frame.tables), frame.notes]
    return "\n\n".join("\n".join(map(printable, part)) for part in parts if part)


def _lines(table: Table) -> Iterator[str]:
    rows = [tuple(map(printable, row)) for row in (table.head, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    yield table.title
    for row in rows:
        cells = (
            cell.rjust(width) if column in table.numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
