"""How the last checkpoint and the last restore went, for `status`; kept over the service's restart.

A checkpoint is {time (seconds of the epoch, when it was over), sequence, outcome (resumed,
restored, lost, failed), reason (see wire.Reason, in lower case), pid and name (of the process the
reason is about), freeze_us, collect_us, thaw_us, total_us (all in all)}. A restore is {time,
sequence, killed: [{pid, name}]}.
"""

from __future__ import annotations

import contextlib
import os

from guest_service import protocol

__all__ = ["History"]


class History:
    """Both records, each an object or None."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.checkpoint: dict[str, object] | None = None
        self.restore: dict[str, object] | None = None
        with contextlib.suppress(OSError, protocol.BadRequest), open(path, "rb") as file:
            told = protocol.decode(file.read())
            for name in ("checkpoint", "restore"):
                record = told.get(name)
                setattr(self, name, record if isinstance(record, dict) else None)

    def as_json(self) -> dict[str, object]:
        """Both."""
        return {"checkpoint": self.checkpoint, "restore": self.restore}

    def save(self) -> None:
        """Write them where the next instance looks. Raises OSError."""
        new = f"{self._path}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, protocol.encode(self.as_json()))
        finally:
            os.close(fd)
        os.rename(new, self._path)
