"""What devices saved, taken apart by the description that QEMU puts at the end of a stream.

It is JSON: for each device its name, and each value's name and size in the order they stand in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparc.errors import Damaged
from sparc.qemu import c_stream

__all__ = ["Device", "Value", "devices", "is_whole"]

_DESCRIPTION = re.compile(rb"\x06(.{4})\{", re.S)
_DEEPEST = 64
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class Value:
    """Of a device: `name` with those of what it is in, outermost first; bytes from `start`."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Device:
    """One, of QEMU's `kind`. Its values stand from `start` on; offsets count in what follows RAM.

    `whole`: whether its end stands where its values end, so that they are where they seem.
    """

    name: str
    kind: str
    start: int
    whole: bool
    values: list[Value]

    def value(self, name: str) -> Value | None:
        """The first whose name ends so."""
        return next((value for value in self.values if value.name.endswith(name)), None)


def devices(data: bytes) -> list[Device]:
    """All that is described of what follows the memory; none where there is no description.

    Raises:
        Damaged: it is not as QEMU writes it; the offset is one in `data`.
    """
    described = _description(data)
    found: list[Device] = []
    at = 0
    for entry in described:
        name, kind = str(entry["name"]), str(entry.get("vmsd_name", ""))
        where = _section(data, name, int(entry["instance_id"]), at)
        if where is None:
            raise Damaged("section of a device", at, None, name.encode()[:16])
        number, start = where
        values: list[Value] = []
        at = _values(entry, "", start, values, 0)
        end = data[at : at + 5]
        whole = end == bytes([c_stream.SECTION_FOOTER]) + number
        found.append(Device(name, kind, start, whole, values))
    return found


def is_whole(data: bytes | bytearray) -> bool:
    """Whether what follows the memory has an end: a description, or that of the last section."""
    if _described_at(data) is not None:
        return True
    # Machines of old types do not describe themselves.
    return data[-6:-5] == bytes([c_stream.SECTION_FOOTER]) and data[-1:] == bytes([c_stream.EOF])


def _described_at(data: bytes | bytearray) -> int | None:
    """Where the description begins, which ends where everything does."""
    for match in _DESCRIPTION.finditer(data):
        start = match.end() - 1
        if start + int.from_bytes(match[1], "big") == len(data):
            return start
    return None


def _description(data: bytes) -> list[dict[str, Any]]:
    start = _described_at(data)
    if start is None:
        return []
    try:
        entries = json.loads(data[start:])["devices"]
        if all(isinstance(entry["name"], str) for entry in entries):
            return list(entries)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Damaged("description of devices", start)


def _section(data: bytes, name: str, instance: int, at: int) -> tuple[bytes, int] | None:
    """The number of a device's section, and where its values begin; from `at` on."""
    text = name.encode()
    wanted = bytes([len(text)]) + text + (instance & 0xFFFFFFFF).to_bytes(4, "big")
    while (found := data.find(wanted, at)) >= 0:
        if found >= 5 and data[found - 5] == c_stream.SECTION_FULL:
            return data[found - 4 : found], found + len(wanted) + 4
        at = found + 1
    return None


def _values(entry: dict[str, Any], inside: str, at: int, values: list[Value], depth: int) -> int:
    """Note all values of a device, or of a part of one, that begin at `at`; where they end."""
    if depth > _DEEPEST or len(values) > _MOST:
        raise Damaged("description of devices", at)
    try:
        for field in _fields(entry):
            size, name = int(field["size"]), f"{inside}{field['name']}"
            values.append(Value(name, at, size))
            inner = field.get("struct")
            if isinstance(inner, dict):
                _values(inner, f"{name}/", at, values, depth + 1)
            at += size
        for part in entry.get("subsections", []):
            name = str(part["vmsd_name"])
            at = _values(part, f"{inside}{name}/", at + 6 + len(name), values, depth + 1)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Damaged("description of a device", at) from None
    return at


def _fields(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each field, as often as it stands there."""
    for field in entry.get("fields", []):
        for _ in range(min(int(field.get("array_len", 1)), _MOST)):
            yield field
