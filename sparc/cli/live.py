"""A view that is shown again and again on the whole terminal, and leaves it as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from sparc.cli.wording import words
from sparc.errors import SparcError
from sparc.frame import Frame, Table
from sparc.printable import printable

__all__ = ["watch"]

_QUIT = b"qQ"
# Of a table: its title, its head, and the line before it.
_AROUND = 3
# Columns, between columns; and of a verdict at least.
_GAP = 2
_LEAST = 10
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_WAKING = (signal.SIGTSTP, signal.SIGWINCH)


class _Ended(Exception):
    """By a signal: its number."""


def watch(make: Callable[[], Frame], interval: float) -> int:
    """Show what `make` makes until q or Ctrl-C, `interval` seconds apart; 0.

    What SparcError it raises later on is shown too. Raises it the first time.
    """
    console = Console(highlight=False)
    frame = make()
    try:
        with _signals() as woken:
            while not _shown(console, frame, make, interval, woken):
                # Ctrl-Z: the shell has the terminal, as it was, until it lets us go on.
                os.kill(os.getpid(), signal.SIGSTOP)
    except KeyboardInterrupt:
        pass
    except _Ended as ended:
        (number,) = ended.args
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 0


def _shown(
    console: Console, frame: Frame, make: Callable[[], Frame], interval: float, woken: int
) -> bool:
    """Until the user ends it: True; or stops it: False."""
    problem = ""
    hint = f"every {interval:g} s; q ends"
    screen = Live(console=console, screen=True, auto_refresh=False)
    with _keys() as keys, screen as live:
        while True:
            live.update(_drawn(console, frame, problem or hint, bad=bool(problem)), refresh=True)
            told = _wait(keys, woken, interval)
            if told == _Told.QUIT:
                return True
            if told == _Told.STOP:
                return False
            if told == _Told.NOTHING:
                try:
                    frame, problem = make(), ""
                except SparcError as error:
                    problem = f"{time.strftime('%H:%M:%S')}: {words(error)}"


class _Told:
    """What ended a wait."""

    NOTHING, QUIT, STOP, REDRAW = range(4)


def _wait(keys: int | None, woken: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        ready, _, _ = select.select([woken] if keys is None else [keys, woken], [], [], left)
        if woken in ready:
            signals = os.read(woken, 64)
            if signal.SIGTSTP in signals:
                return _Told.STOP
            if signal.SIGWINCH in signals:
                return _Told.REDRAW
        if keys in ready and keys is not None:
            typed = os.read(keys, 64)
            # No more can come where the other end has gone.
            if not typed or any(key in _QUIT for key in typed):
                return _Told.QUIT
    return _Told.NOTHING


@contextmanager
def _signals() -> Iterator[int]:
    """Gives a descriptor that can be read from when the window changed or Ctrl-Z was typed."""

    def end(number: int, _: FrameType | None) -> None:
        raise _Ended(number)

    source, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, end) for number in _ENDING}
    before |= {number: signal.signal(number, lambda *_: None) for number in _WAKING}
    earlier = signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    try:
        yield source
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(source)
        os.close(sink)


@contextmanager
def _keys() -> Iterator[int | None]:
    """Gives the descriptor that keys come from, each at once and without an echo; or None."""
    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSAFLUSH, before)


# -- drawing


def _drawn(console: Console, frame: Frame, hint: str, *, bad: bool) -> RenderableType:
    """All of it; where it is too high, the last table is cut."""
    shown: list[RenderableType] = [Text(printable(hint), "red" if bad else "dim")]
    shown += [Text(printable(line), no_wrap=True, overflow="ellipsis") for line in frame.lines]
    notes = [Text(printable(note), "yellow") for note in frame.notes]
    room = console.height - len(shown) - len(notes)
    for place, table in enumerate(frame.tables):
        room -= _AROUND
        last = place == len(frame.tables) - 1
        most = max(room - 1, 1) if last and len(table.rows) > room else len(table.rows)
        shown += [Text(""), Text(printable(table.title), "bold"), _grid(table, most, console.width)]
        room -= most
        if most < len(table.rows):
            shown.append(Text(f"... {len(table.rows) - most} more", "dim"))
    return Group(*shown, *notes)


def _grid(table: Table, most: int, width: int) -> Grid:
    rows = table.rows[:most]
    # A verdict may be long: where there is too little room, it is what is cut.
    widths = [_widest(table, rows, column) + _GAP for column in range(len(table.head))]
    room = width - sum(w for column, w in enumerate(widths) if column != table.verdict)
    grid = Grid(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    for column, name in enumerate(table.head):
        grid.add_column(
            name,
            justify="right" if column in table.numbers else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        grid.add_row(*(_cell(table, column, cell, room) for column, cell in enumerate(row)))
    return grid


def _widest(table: Table, rows: list[tuple[str, ...]], column: int) -> int:
    return max(cell_len(printable(row[column])) for row in (table.head, *rows))


def _cell(table: Table, column: int, cell: str, room: int) -> Text:
    shown = Text(printable(cell))
    if column == table.verdict:
        shown.truncate(max(room, _LEAST), overflow="ellipsis")
        starts = {"NOT CLEAN": "red", "clean": "green"}
        shown.style = next((s for words, s in starts.items() if cell.startswith(words)), "")
    return shown
