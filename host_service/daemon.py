"""`sparc-hostd`: takes the reports of this user's VMs and keeps them in the journal.

Checkpoints are as clean without it: it is only told of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from host_service.errors import HostError
from host_service.fields import Malformed
from host_service.journal import append, journal_file
from host_service.reports import MAX_BYTES, Report, parse
from host_service.run_dir import hostd_lock, hostd_socket, usable_run_dir
from host_service.vm_socket import peer_uid
from sparc.printable import printable

__all__ = ["main", "serve"]

_SECONDS = 2.0
_CLIENTS = 16

_log = logging.getLogger("sparc-hostd")


async def serve(path: Path, journal: Path) -> None:
    """Take reports on the unix socket `path` until cancelled. Nobody else may hold that path."""
    places = asyncio.Semaphore(_CLIENTS)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if places.locked():
                _log.warning("too many at once: one was turned away")
                return
            async with places:
                uid = peer_uid(writer.get_extra_info("socket"))
                if uid not in (0, os.geteuid()):
                    _log.warning("turned away a process of user %d", uid)
                    return
                report = await _received(reader)
                if report is not None:
                    _keep(journal, report)
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    # Ours alone from the first moment on: the folder lets nobody else in.
    server = await asyncio.start_unix_server(client, path, limit=MAX_BYTES)
    try:
        path.chmod(0o600)
        async with server:
            await server.serve_forever()
    finally:
        path.unlink(missing_ok=True)


async def _received(reader: asyncio.StreamReader) -> Report | None:
    """One line in time, if it is a report."""
    try:
        async with asyncio.timeout(_SECONDS):
            return parse(await reader.readuntil(b"\n"))
    except TimeoutError:
        _log.warning("dropped a client: too slow")
    except asyncio.LimitOverrunError:
        _log.warning("dropped a client: its line is too long")
    except (asyncio.IncompleteReadError, ConnectionError):
        _log.warning("dropped a client: it hung up")
    except Malformed as error:
        _log.warning("dropped what is no report: %s", error)
    return None


def _keep(journal: Path, report: Report) -> None:
    verdict = "clean" if report.clean else "NOT CLEAN" if report.saved else "not saved"
    words = f"{report.vm_name}: {verdict}: {report.message or report.reason}"
    _log.log(logging.INFO if report.clean else logging.WARNING, "%s", printable(words))
    try:
        append(journal, report)
    except OSError as error:
        _log.error("%s: not written: %s", journal, error.strerror or error)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock."""
    with hostd_lock(folder).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError("sparc-hostd runs already") from None
        yield


async def _until_told() -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    folder, journal = usable_run_dir(make=True), journal_file()
    with _only_one(folder), contextlib.suppress(asyncio.CancelledError):
        _log.info("listening; the journal is %s", journal)
        await serve(hostd_socket(folder), journal)


def main() -> None:
    """Run until SIGTERM; exits with 0, or 2 if it cannot run."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        asyncio.run(_until_told())
    except HostError as error:
        _log.error("%s", "; ".join(part for part in (error.cause, error.advice) if part))
        sys.exit(2)
    except OSError as error:
        _log.error("%s: %s", error.filename or "hostd", error.strerror or error)
        sys.exit(2)
