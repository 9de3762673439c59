"""Runs a freezer as the service does, told what to do line by line; a child of the tests."""

from __future__ import annotations

import sys
from pathlib import Path

from guest_service import cgroups
from guest_service.freezer import Freezer, NotFrozen
from guest_service.record import Record


def main(root: str, record: str, keep: str) -> None:
    """Read commands, answer each with one line."""
    mount = cgroups.mount_point()
    handed: list[str] = []
    freezer = Freezer(
        root,
        Record(record),
        keep=keep == "keep",
        hand_over=lambda fd: handed.append(str(Path(f"/proc/self/fd/{fd}").readlink())),
        mount=mount,
    )
    for line in sys.stdin:
        command, *arguments = line.split()
        answer = "done"
        try:
            if command == "freeze":
                freezer.freeze(float(arguments[0]))
            elif command == "handed":
                answer = " ".join(sorted(handed)) or "none"
                handed.clear()
            else:
                getattr(freezer, command)()
        except NotFrozen as error:
            answer = f"not-frozen {error.pid}"
        print(answer, flush=True)


main(*sys.argv[1:])
