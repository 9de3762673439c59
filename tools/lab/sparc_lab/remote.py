"""Runs a program in the machine around VirtualBox as if it ran here.

``python -m sparc_lab.remote FOLDER QEMU ARGUMENT...``: FOLDER is what ``guest/outer-agent`` serves,
QEMU the record of the process that runs the machine. Output and exit status are the program's; it
is killed when this process is asked to end.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from .processes import Process

__all__ = ["remote"]

_STEP_SECONDS = 0.05
_OUTER_IS_GONE = 125
_LAST_WORDS = 2000


def remote(folder: Path, outer: Path, argv: list[str]) -> int:
    """Run it; its exit status, minus the signal's number if one ended it."""
    order = folder / f"{os.getpid()}-{time.monotonic_ns()}.order"
    signal.signal(signal.SIGTERM, lambda *_: order.with_suffix(".kill").touch())
    new = order.with_suffix(".asked")
    new.touch(mode=0o600)
    new.write_text(json.dumps(argv))
    new.rename(order)
    out, status = order.with_suffix(".out"), order.with_suffix(".status")
    offset = 0
    try:
        while True:
            # In this order: what was written before the end is passed on.
            ended = status.exists()
            with contextlib.suppress(FileNotFoundError), out.open("rb") as file:
                file.seek(offset)
                data = file.read()
                offset += len(data)
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            if ended:
                return int(status.read_text())
            if Process.recorded(outer) is None:
                print("the machine around VirtualBox is gone", _last_words(outer), file=sys.stderr)
                return _OUTER_IS_GONE
            time.sleep(_STEP_SECONDS)
    finally:
        for path in folder.glob(f"{order.stem}.*"):
            path.unlink(missing_ok=True)


def _last_words(outer: Path) -> str:
    """What QEMU and its kernel said at the end."""
    texts = [
        log.read_text(errors="replace")
        for log in (outer.with_name("outer.log"), outer.with_name("outer-console.log"))
        if log.exists()
    ]
    return "\n".join(text[-_LAST_WORDS:] for text in texts)


def _main() -> None:
    folder, outer, *argv = sys.argv[1:]
    status = remote(Path(folder), Path(outer), argv)
    sys.exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    _main()
