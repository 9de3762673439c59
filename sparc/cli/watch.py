"""`sparc watch`: the saves of this host's VMs as they happen, from outside their processes."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sparc.cli.progress import is_quiet, is_shown, quiet
from sparc.cli.wording import words
from sparc.printable import printable

if TYPE_CHECKING:
    from host_service.watch.run import Seen, Watch

__all__ = ["command"]

_EVERY = 0.2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(name="watch")
@click.argument("vm", required=False)
@click.option(
    "--verify",
    is_flag=True,
    help="Be a witness that no page that was to be kept out was written with content.",
)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(min=1),
    metavar="COUNT",
    help="End after so many saves; default: with Ctrl-C.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@quiet
def command(vm: str | None, verify: bool, count: int | None, as_json: bool) -> int:
    """Show each save of a VM on this host as it happens, whoever takes it: its steps and its
    pages, also of VMs without sparc. Of all VMs, or of one (its name or UUID).

    Needs root, bcc (python3-bpfcc) and the kernel's headers. Probes in the kernel count what
    VirtualBox writes; no code runs in the VM's process, and a VM that is not being saved is not
    slowed down. A save takes longer by the probes, by two of them for each page with --verify.

    --verify compares the pages that were seen being written with the guest's own list of what to
    leave out, which is in the file. Of parts of pages it cannot tell: sparc report does.

    Exit status: 0; with --verify 1 if a listed page was written with content, or if that could not
    be verified; 2 for a failure.
    """
    from host_service.watch.run import Watch

    good = True
    left = count or 0
    with Watch(vm, witness=verify) as watch, _ended() as ended, _display() as show:
        _greet(watch, vm)
        while not ended() and (left or count is None):
            for seen in watch.look(_EVERY)[: left or None]:
                show(None)
                good = _tell(seen, as_json) and good
                left = max(left - 1, 0)
            good = _complain(watch) and good
            show(watch)
        show(None)
        if left or count is None:
            for seen in watch.end():
                good = _tell(seen, as_json) and good
    return 0 if good or not verify else 1


def _greet(watch: Watch, vm: str | None) -> None:
    _complain(watch)
    if is_quiet():
        return
    names = ", ".join(printable(name) for name in watch.vms)
    waits = (
        "no VM runs here; it is waited for" if vm is None else "it does not run; it is waited for"
    )
    click.echo(f"watching: {names or waits}", err=True)


def _complain(watch: Watch) -> bool:
    """Tell of troubles; whether there were none."""
    for trouble in watch.troubles:
        click.echo(f"sparc: {words(trouble)}", err=True)
    good = not watch.troubles
    watch.troubles.clear()
    return good


def _tell(seen: Seen, as_json: bool) -> bool:
    """Print a save; whether it is as it is to be."""
    from sparc.cli.watch_text import lines

    if as_json:
        click.echo(json.dumps(seen.as_json()))
    else:
        for line, colour in lines(seen):
            click.secho(printable(line), fg=colour)
    return seen.found is None or seen.found.result.good or seen.save.failed


@contextmanager
def _ended() -> Iterator[Callable[[], bool]]:
    """Tells whether a signal has asked us to end. It does not interrupt: what was seen is told."""
    asked: list[int] = []
    before = {one: signal.signal(one, lambda number, _: asked.append(number)) for one in _ENDING}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _display() -> Iterator[Callable[[Watch | None], None]]:
    """Gives what shows the saves under way, or with None takes that away."""
    if not is_shown():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    def drawn(watch: Watch) -> Table:
        table = Table.grid(padding=(0, 1))
        for one in watch.progress():
            bar = ProgressBar(one.total or None, one.done, width=30, pulse=not one.total)
            table.add_row(printable(one.vm), bar, f"{one.done} of {one.total} pages")
        return table

    live = Live(console=Console(stderr=True), transient=True, auto_refresh=False)

    def show(watch: Watch | None) -> None:
        if watch is None or not watch.progress():
            live.stop()
            return
        live.start()
        live.update(drawn(watch), refresh=True)

    try:
        yield show
    finally:
        live.stop()
