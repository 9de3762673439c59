"""Keeps a reader on a guest's serial lines, and lets programs come and go on them.

``python -m sparc_lab.relay FOLDER LINE...``: for each LINE the guest's end is the unix socket
``FOLDER/LINE.vm``, which VirtualBox or QEMU opens and closes as the machine starts and stops.
Programs connect to ``FOLDER/LINE.sock``; everything the guest sends also goes to
``FOLDER/LINE.log``. A line that nobody reads stalls the guest for seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

__all__ = ["Line"]

_CHUNK = 1 << 16
_LOG_BYTES = 1 << 22


class Line:
    """One serial line: the guest at one end, any number of programs at the other."""

    def __init__(self, folder: Path, name: str) -> None:
        self._guest_path = folder / f"{name}.vm"
        self._path = folder / f"{name}.sock"
        self._log_path = folder / f"{name}.log"
        self._guest: asyncio.StreamWriter | None = None
        self._programs: set[asyncio.StreamWriter] = set()

    async def serve(self) -> None:
        """Run for ever."""
        self._path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._program, self._path)
        self._path.chmod(0o600)
        async with server:
            while True:
                with contextlib.suppress(OSError):
                    await self._follow_guest()
                self._guest = None
                await asyncio.sleep(0.05)

    async def _follow_guest(self) -> None:
        reader, self._guest = await asyncio.open_unix_connection(self._guest_path)
        with self._log_path.open("ab", buffering=0) as log:
            while data := await reader.read(_CHUNK):
                if log.tell() > _LOG_BYTES:
                    log.truncate(0)
                log.write(data)
                for program in list(self._programs):
                    program.write(data)

    async def _program(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._programs.add(writer)
        try:
            while data := await reader.read(_CHUNK):
                if self._guest is not None:
                    self._guest.write(data)
                    await self._guest.drain()
        except OSError:
            pass
        finally:
            self._programs.discard(writer)
            writer.close()


async def _main(folder: Path, names: list[str]) -> None:
    await asyncio.gather(*(Line(folder, name).serve() for name in names))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2:]))
