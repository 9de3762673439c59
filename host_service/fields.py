"""JSON from a process that need not be believed: every value's type and bounds are checked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

__all__ = ["Fields", "Malformed", "load"]

_HIGHEST = 1 << 63


class Malformed(Exception):
    """What was read is not what it should be: the argument says how, without quoting it."""


def load(data: bytes) -> Any:
    """Any JSON value, read strictly.

    Raises:
        Malformed: it is not UTF-8, not JSON, too deep, or says one thing twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Malformed("says one thing twice")
        return found

    def never(_: str) -> NoReturn:
        raise Malformed("holds what is no number")

    try:
        return json.loads(data.decode(), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None


class Fields:
    """An object whose members are asked for by name and type; further ones are ignored.

    Every method raises Malformed where the member is missing or not of that kind.
    """

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise Malformed("not an object")
        self._members: dict[str, object] = value

    def has(self, name: str) -> bool:
        """Whether there is such a member."""
        return name in self._members

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._members.get(name)
        if not isinstance(value, bool):
            raise Malformed(f"has no {name}")
        return value

    def number(self, name: str) -> int:
        """A whole number from 0 to 2^63 - 1."""
        return _number(name, self._members.get(name))

    def optional_number(self, name: str) -> int | None:
        """The same, or None where it is null."""
        return self._present(name) and self.number(name)

    def numbers(self, most: int) -> dict[str, int]:
        """All members, each of which is a number."""
        return {name: _number(name, value) for name, value in self._all(most)}

    def text(self, name: str, most: int) -> str:
        """At most that many characters, whatever they are."""
        value = self._members.get(name)
        if not isinstance(value, str) or len(value) > most:
            raise Malformed(f"has no {name}")
        return value

    def optional_text(self, name: str, most: int) -> str | None:
        """The same, or None where it is null."""
        return self._present(name) and self.text(name, most)

    def one_of(self, name: str, words: Sequence[str]) -> str:
        """One of these words."""
        value = self._members.get(name)
        if not isinstance(value, str) or value not in words:
            raise Malformed(f"has no {name}")
        return value

    def inner(self, name: str) -> Fields:
        """An object."""
        return Fields(self._members.get(name))

    def optional_inner(self, name: str) -> Fields | None:
        """The same, or None where it is null."""
        return self._present(name) and self.inner(name)

    def members(self, most: int) -> Iterator[tuple[str, Fields]]:
        """All members, each of which is an object."""
        return ((name, Fields(value)) for name, value in self._all(most))

    def list(self, name: str, most: int) -> Iterator[Fields]:
        """Objects, at most that many."""
        value = self._members.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise Malformed(f"has no {name}")
        return (Fields(entry) for entry in value)

    def _present(self, name: str) -> Any:
        if name not in self._members:
            raise Malformed(f"has no {name}")
        return None if self._members[name] is None else True

    def _all(self, most: int) -> Iterator[tuple[str, object]]:
        if len(self._members) > most or any(len(name) > 32 for name in self._members):
            raise Malformed("has too many members")
        return iter(self._members.items())


def _number(name: str, value: object) -> int:
    # True is an int to Python.
    if type(value) is not int or not 0 <= value < _HIGHEST:
        raise Malformed(f"has no {name}")
    return value
