"""Clicks in VirtualBox's own window, as a person makes them.

Positions are pixels from the corner of the window or dialog they are in, as Qt lays them out on the
lab's X display (96 dpi, no window manager, DejaVu Sans).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from .errors import CommandError, LabError
from .processes import wait_for

__all__ = ["cancel_snapshot", "take_snapshot"]

Xdotool = Callable[..., str]

_MACHINE_MENU = (70, 8)
_TAKE_SNAPSHOT = (60, 34)
_NAME_FIELD = (160, 38)
_OK_BUTTON = (98, 294)
# In the list of notifications, where that of the snapshot comes first.
_CANCEL_BUTTON = (693, 75)


def take_snapshot(xdotool: Xdotool, title: str, name: str) -> None:
    """Machine, Take Snapshot..., the name, Ok.

    ``xdotool`` runs that program with its arguments; ``title`` is how the window's title begins.

    Raises:
        LabError: a window or dialog did not show.
    """
    window = _machine_window(xdotool, title)
    before = _all_windows(xdotool)
    _click(xdotool, window, _MACHINE_MENU)
    menus: list[str] = []

    def menu_shown() -> bool:
        menus[:] = [found for found in _all_windows(xdotool) if found not in before]
        return bool(menus)

    if not wait_for(menu_shown, timeout=10):
        raise LabError("the Machine menu did not open")
    _click(xdotool, menus[0], _TAKE_SNAPSHOT)
    dialog = _window(xdotool, "^Take Snapshot")
    _click(xdotool, dialog, _NAME_FIELD)
    xdotool("key", "ctrl+a", "type", "--delay", "20", name)
    time.sleep(0.3)
    _click(xdotool, dialog, _OK_BUTTON)
    if not wait_for(lambda: not _search(xdotool, "^Take Snapshot"), timeout=10):
        raise LabError("the snapshot dialog did not close")


def cancel_snapshot(xdotool: Xdotool, title: str) -> None:
    """Cancel the snapshot that is being taken, by its notification.

    Raises:
        LabError: there is no such window.
    """
    _click(xdotool, _machine_window(xdotool, title), _CANCEL_BUTTON)


def _machine_window(xdotool: Xdotool, title: str) -> str:
    return _window(xdotool, rf"^{title} (\(.*\) )?\[")


def _click(xdotool: Xdotool, window: str, place: tuple[int, int]) -> None:
    x, y = (str(part) for part in place)
    xdotool("mousemove", "--window", window, x, y, "sleep", "0.2", "click", "1", "sleep", "0.2")


def _window(xdotool: Xdotool, title: str) -> str:
    found: list[str] = []

    def shown() -> bool:
        found[:] = _search(xdotool, title)
        return bool(found)

    if not wait_for(shown, timeout=20, step=0.2):
        raise LabError(f"VirtualBox shows no window with a title like {title!r}")
    return found[0]


def _all_windows(xdotool: Xdotool) -> set[str]:
    return set(_search(xdotool, ""))


def _search(xdotool: Xdotool, title: str) -> list[str]:
    try:
        return xdotool("search", "--onlyvisible", "--name", title).split()
    except CommandError:
        return []
