"""The forms in which a secret may stand in memory, as byte strings to search for."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass, field

from sparc.audit.secrets import Secret

__all__ = ["ENCODINGS", "Pattern", "patterns"]

ENCODINGS = ("utf-8", "utf-16le", "utf-32le", "console", "base64", "hex")
# A text screen keeps each character beside its colours; these are a Linux console's: grey on black.
_CONSOLE_ATTRIBUTE = 0x07


@dataclass(frozen=True, slots=True)
class Pattern:
    """A byte string that gives a secret away; `owners` are (secret's number, encoding)."""

    value: bytes = field(repr=False)
    owners: tuple[tuple[int, str], ...]


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _base64(value: bytes, shift: int) -> bytes:
    """The characters that depend on `value` alone, if it starts `shift` bytes into a group of 3."""
    text = base64.b64encode(bytes(shift) + value)
    return text[-(-shift * 8 // 6) : (shift + len(value)) * 8 // 6]


def _forms(value: bytes) -> Iterable[tuple[str, bytes]]:
    yield "utf-8", value
    text = _text(value)
    yield "utf-16le", text.encode("utf-16-le", "surrogatepass")
    yield "utf-32le", text.encode("utf-32-le", "surrogatepass")
    yield "console", b"".join(bytes([byte, _CONSOLE_ATTRIBUTE]) for byte in value)
    for shift in range(3):
        code = _base64(value, shift)
        yield "base64", code
        yield "base64", code.translate(bytes.maketrans(b"+/", b"-_"))
    yield "hex", value.hex().encode()
    yield "hex", value.hex().upper().encode()


def patterns(secrets: list[Secret]) -> list[Pattern]:
    """All forms of all secrets, each byte string once.

    NUL bytes at either end are cut off: the last character of UTF-16LE may lose its zero byte to
    the next page, and pages of zeros are not stored.
    """
    owners: dict[bytes, dict[tuple[int, str], None]] = {}
    for secret in secrets:
        for encoding, form in _forms(secret.value):
            owners.setdefault(form.strip(b"\0"), {})[(secret.number, encoding)] = None
    return [Pattern(value, tuple(found)) for value, found in owners.items()]
