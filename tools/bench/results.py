"""What was measured: a file of JSON lines, to which an interrupted run goes on to add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Measured", "Results", "numbers", "read"]

Measured = dict[str, Any]
"""One line: ``experiment``, and what that one is of. Seconds, bytes, MB and pages, as named."""


def read(*paths: Path) -> list[Measured]:
    """All lines of files. What a killed run left half written at an end is none."""
    lines = [line for path in paths for line in path.read_text().splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def numbers(text: str) -> list[int]:
    """Numbers with commas between them."""
    return [int(word) for word in text.split(",") if word.strip()]


class Results:
    """The lines of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[Measured] = []
        if path.exists():
            self.lines = read(path)
            # Without the half line, if there is one.
            path.write_text("".join(json.dumps(line) + "\n" for line in self.lines))

    def add(self, *lines: Measured) -> None:
        """Write them at one stroke: those of one round are compared with each other."""
        self.lines += lines
        with self._path.open("a") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))

    def has(self, **given: object) -> bool:
        """Whether there is a line with all these values."""
        return any(given.items() <= line.items() for line in self.lines)

    def missing(self, rounds: int, **given: object) -> list[int]:
        """Which rounds from 1 on there are no lines of."""
        return [n for n in range(1, rounds + 1) if not self.has(round=n, **given)]
