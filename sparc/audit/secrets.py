"""Reads the secrets to look for. They never come from arguments, and never leave in a message."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from sparc.errors import SecretsError

__all__ = [
    "MAX_LENGTH",
    "MAX_SECRETS",
    "MIN_LENGTH",
    "Secret",
    "given_secrets",
    "read_secrets",
]

# Shorter ones stand in any gigabyte by chance.
MIN_LENGTH = 4
MAX_LENGTH = 1024
MAX_SECRETS = 2000
_GIVEN = "the arguments"


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret: `number` counts from 1 over all sources; `value` stays out of its repr."""

    number: int
    source: str
    line: int
    value: bytes = field(repr=False)


def _from_terminal() -> bytes:
    lines = []
    while line := getpass.getpass("Secret (an empty line ends): ", sys.stderr):
        lines.append(line.encode())
    return b"\n".join(lines)


def _load(source: str) -> bytes:
    limit = MAX_SECRETS * (MAX_LENGTH + 2) + 1
    try:
        if source == "-":
            if sys.stdin.isatty():
                return _from_terminal()
            stdin: BinaryIO = sys.stdin.buffer
            return stdin.read(limit)
        with Path(source).open("rb") as file:
            return file.read(limit)
    except (OSError, ValueError, EOFError) as error:
        cause = getattr(error, "strerror", None) or "cannot be read"
        raise SecretsError(str(cause), source) from None


def _add(secrets: list[Secret], value: bytes, name: str, line: int) -> None:
    """Append one. Raises SecretsError."""
    if len(value.strip(b"\0")) < MIN_LENGTH:
        raise SecretsError(f"shorter than {MIN_LENGTH} bytes", name, line)
    if len(value) > MAX_LENGTH:
        raise SecretsError(f"longer than {MAX_LENGTH} bytes", name, line)
    if len(secrets) >= MAX_SECRETS:
        raise SecretsError(f"more than {MAX_SECRETS} secrets", name, line)
    secrets.append(Secret(len(secrets) + 1, name, line, value))


def read_secrets(sources: list[str]) -> list[Secret]:
    """One secret a line from each source (a path, or "-": stdin); without one, from stdin.

    Only the newline (LF or CR LF) is stripped; empty lines are skipped. Raises SecretsError: no
    secret, one of a length outside MIN_LENGTH..MAX_LENGTH bytes, more than MAX_SECRETS.
    """
    secrets: list[Secret] = []
    for source in sources or ["-"]:
        name = "standard input" if source == "-" else source
        for number, raw in enumerate(_load(source).split(b"\n"), 1):
            value = raw.removesuffix(b"\r")
            if value:
                _add(secrets, value, name, number)
    if not secrets:
        names = ", ".join("standard input" if s == "-" else s for s in sources or ["-"])
        raise SecretsError("no secret in it", names)
    return secrets


def given_secrets(values: Iterable[str | bytes]) -> list[Secret]:
    """Secrets that a program holds; text as UTF-8. Raises SecretsError, as read_secrets does."""
    secrets: list[Secret] = []
    for number, value in enumerate(values, 1):
        _add(secrets, value.encode() if isinstance(value, str) else value, _GIVEN, number)
    if not secrets:
        raise SecretsError("no secret in it", _GIVEN)
    return secrets
