"""The journal: each checkpoint and restore, one JSON object a line, never rewritten.

Checkpoints are noted by `sparc-hostd`, whoever takes them; restores by `sparc restore`.
"""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from host_service import fields
from host_service.fields import Fields, Malformed
from host_service.reports import MAX_BYTES, Report, from_fields, parse_time, time_text

__all__ = [
    "LONGEST_NAME",
    "Entry",
    "Restore",
    "append",
    "append_restore",
    "entries",
    "follow",
    "journal_file",
    "note_restore",
]

LONGEST_NAME = 1024
"""Of a VM or snapshot, in characters; longer ones are cut."""

_EVERY_SECONDS = 0.5
_PIECE = 1 << 16
_LONGEST = MAX_BYTES + 4096


@dataclass(frozen=True)
class Restore:
    """A VM was made what it was at a snapshot. `started`: in which front end, or None."""

    time: datetime
    vm_name: str
    vm_uuid: str
    snapshot: str
    snapshot_uuid: str
    clean: bool
    why: str
    started: str | None

    def as_json(self) -> dict[str, Any]:
        """As it stands in the journal."""
        return {
            "event": "restore",
            "version": 1,
            "time": time_text(self.time),
            "vm": {"name": self.vm_name, "uuid": self.vm_uuid},
            "snapshot": {"name": self.snapshot, "uuid": self.snapshot_uuid},
            "clean": self.clean,
            "why": self.why,
            "started": self.started,
        }


@dataclass(frozen=True)
class Entry:
    """One line: a checkpoint's report or a restore, and when it was noted."""

    received: datetime
    what: Report | Restore

    def as_json(self) -> dict[str, Any]:
        """The stable schema of `sparc log --json`: "event" is "checkpoint" or "restore"."""
        data = self.what.as_json()
        return {"event": "checkpoint", "received": time_text(self.received), **data}

    def concerns(self, vm: str) -> bool:
        """Whether it is about the VM that had this name then, or has this UUID."""
        return vm in (self.what.vm_name, self.what.vm_uuid)


def journal_file(uid: int | None = None) -> Path:
    """Where it is for a user."""
    uid = os.geteuid() if uid is None else uid
    if uid == 0:
        return Path("/var/lib/sparc/journal.jsonl")
    return Path(pwd.getpwuid(uid).pw_dir, ".local/state/sparc/journal.jsonl")


def append(path: Path, report: Report) -> None:
    """Add a report, and when it came; returns when it is on the disk.

    Raises:
        OSError: it may be there in part, which harms no other line.
    """
    _append(path, report.as_json())


def append_restore(path: Path, restore: Restore) -> None:
    """The same of a restore."""
    _append(path, restore.as_json())


def note_restore(restore: Restore) -> str:
    """Into `journal_file`; or why not, for the VM was restored all the same."""
    path = journal_file()
    try:
        append_restore(path, restore)
    except OSError as error:
        return f"{path}: {error.strerror or error}"
    return ""


def _append(path: Path, what: dict[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps({"received": time_text(datetime.now(UTC)), **what}).encode() + b"\n"
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        os.fchmod(handle, 0o600)
        end = os.fstat(handle).st_size
        if end and os.pread(handle, 1, end - 1) != b"\n":
            # An earlier line was cut, by a full disk or a power failure.
            line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise OSError("the disk is full")
        os.fsync(handle)
    finally:
        os.close(handle)


# -- reading it


def entries(path: Path) -> Iterator[Entry]:
    """All that can be read, oldest first; lines that were cut are passed over.

    Raises:
        OSError: it is there, but cannot be read.
    """
    with suppress(FileNotFoundError), _Reader(path) as reader:
        yield from reader.more()


def follow(path: Path) -> Iterator[Entry | None]:
    """All that is there, then None, then each further entry as it comes, for ever.

    Raises:
        OSError: it is there, but cannot be read.
    """
    reader: _Reader | None = None
    told = False
    while True:
        if reader is not None:
            yield from reader.more()
            if reader.replaced():
                reader.close()
                reader = None
        if reader is None:
            with suppress(FileNotFoundError):
                reader = _Reader(path)
                yield from reader.more()
        if not told:
            told = True
            yield None
        time.sleep(_EVERY_SECONDS)


class _Reader:
    """Reads a journal on from where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb")
        self._begun = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def replaced(self) -> bool:
        """Whether another file has its name now, or it was cut."""
        ours = os.fstat(self._file.fileno())
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino) or (
            now.st_size < self._file.tell()
        )

    def more(self) -> Iterator[Entry]:
        """What was added since; a line that has no end yet is kept for the next time."""
        while piece := self._file.read(_PIECE):
            *whole, self._begun = (self._begun + piece).split(b"\n")
            for line in whole:
                with suppress(Malformed):
                    yield _entry(line)
            # What is too long to be an entry is no entry at its end either.
            self._begun = self._begun[:_LONGEST]


def _entry(line: bytes) -> Entry:
    if len(line) >= _LONGEST:
        raise Malformed("longer than an entry can be")
    f = Fields(fields.load(line))
    received = parse_time(f.text("received", 32))
    return Entry(received, _restore(f) if f.has("event") else from_fields(f))


def _restore(f: Fields) -> Restore:
    f.one_of("event", ("restore",))
    if f.number("version") != 1:
        raise Malformed("of a version that is not known")
    vm, snapshot = f.inner("vm"), f.inner("snapshot")
    return Restore(
        time=parse_time(f.text("time", 32)),
        vm_name=vm.text("name", LONGEST_NAME),
        vm_uuid=vm.text("uuid", 36),
        snapshot=snapshot.text("name", LONGEST_NAME),
        snapshot_uuid=snapshot.text("uuid", 36),
        clean=f.flag("clean"),
        why=f.text("why", 1 << 16),
        started=f.optional_text("started", 64),
    )
