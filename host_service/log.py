"""Shows the journal: as lines for people or as JSON lines, once or as it grows."""

from __future__ import annotations

import fcntl
import json
from collections import deque
from collections.abc import Callable, Iterator

import click

from host_service.errors import HostError
from host_service.journal import Entry, Restore, entries, follow, journal_file
from host_service.kept_out import summary
from host_service.reports import Report
from host_service.run_dir import hostd_lock, usable_run_dir
from sparc.printable import printable

__all__ = ["show"]

_SHOWN_BEFORE = 10


def show(vm: str | None, *, on: bool, last: int | None, as_json: bool) -> int:
    """Print the journal, of all VMs or of one; the `last` entries, or with `on` the last ten and
    then each that is added, until interrupted; 0.

    Raises:
        OSError: it cannot be read.
    """
    path = journal_file()
    write = _json if as_json else _line
    if not _hostd_runs():
        advice = "systemctl --user start sparc-hostd; sparc-hostd runs it here"
        click.echo(
            f"sparc: sparc-hostd does not run: checkpoints are not noted now; {advice}", err=True
        )
    if on:
        _follow(follow(path), vm, _SHOWN_BEFORE if last is None else last, write)
        return 0
    found = (entry for entry in entries(path) if vm is None or entry.concerns(vm))
    for entry in found if last is None else deque(found, maxlen=last):
        click.echo(write(entry))
    return 0


def _follow(
    found: Iterator[Entry | None], vm: str | None, last: int, write: Callable[[Entry], str]
) -> None:
    before: deque[Entry] | None = deque(maxlen=last)
    for entry in found:
        if entry is None:
            for kept in before or ():
                click.echo(write(kept))
            before = None
        elif vm is None or entry.concerns(vm):
            if before is None:
                click.echo(write(entry))
            else:
                before.append(entry)


def _hostd_runs() -> bool:
    try:
        with hostd_lock(usable_run_dir()).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, HostError):
        return False
    return False


def _json(entry: Entry) -> str:
    return json.dumps(entry.as_json())


def _line(entry: Entry) -> str:
    what = entry.what
    when = what.time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    told = _restore(what) if isinstance(what, Restore) else _checkpoint(what)
    return printable(f"{when}  {what.vm_name}  {told}")


def _checkpoint(report: Report) -> str:
    if not report.saved:
        return f"checkpoint  not taken: {report.message or report.reason}"
    file = f"  [{report.state_file.name}]" if report.state_file else ""
    if not report.clean:
        return f"checkpoint  NOT CLEAN: {report.message or report.reason}{file}"
    told = summary(report)
    words = f"kept out: {told}" if told else report.message or report.reason
    return f"checkpoint  clean: {words}{file}"


def _restore(restore: Restore) -> str:
    word = "clean" if restore.clean else f"NOT CLEAN: {restore.why}"
    now = f"runs ({restore.started})" if restore.started else "not started"
    return f"restored    {restore.snapshot}, {now}; {word}"
