"""Clicks in VirtualBox's own window, as a person makes them.

Positions are pixels from the corner of the window or dialog they are in, as Qt lays them out on the
lab's X display (96 dpi, no window manager, DejaVu Sans).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from .errors import CommandError, LabError
from .processes import wait_for

__all__ = [
    "cancel_snapshot",
    "confirm_snapshot",
    "details_of_warning",
    "name_snapshot",
    "select_snapshot",
]

Xdotool = Callable[..., str]

_MACHINE_MENU = (70, 8)
_TAKE_SNAPSHOT = (60, 34)
_NAME_FIELD = (160, 38)
_OK_BUTTON = (98, 294)
# In the list of notifications, where that of the snapshot comes first.
_CANCEL_BUTTON = (693, 75)
_DIALOG = "^Take Snapshot"
_WARNING = "^VirtualBox - Warning"
_DETAILS = (23, 123)
# Of the window: where the warning fits in when its details are shown.
_CORNER = (200, 40)
# VirtualBox Manager, its list of snapshots.
_MANAGER = "VirtualBox Manager$"
_FIRST_SNAPSHOT = (320, 141)


def name_snapshot(xdotool: Xdotool, title: str, name: str) -> None:
    """Machine, Take Snapshot..., the name.

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
    dialog = _window(xdotool, _DIALOG)
    _click(xdotool, dialog, _NAME_FIELD)
    xdotool("key", "ctrl+a", "type", "--delay", "20", name)
    time.sleep(0.3)


def confirm_snapshot(xdotool: Xdotool) -> None:
    """Ok, in the dialog that `name_snapshot` has left open.

    Raises:
        LabError: there is none, or it did not close.
    """
    _click(xdotool, _window(xdotool, _DIALOG), _OK_BUTTON)
    if not wait_for(lambda: not _search(xdotool, _DIALOG), timeout=10):
        raise LabError("the snapshot dialog did not close")


def cancel_snapshot(xdotool: Xdotool, title: str) -> None:
    """Cancel the snapshot that is being taken, by its notification.

    Raises:
        LabError: there is no such window.
    """
    _click(xdotool, _machine_window(xdotool, title), _CANCEL_BUTTON)


def details_of_warning(xdotool: Xdotool, title: str) -> None:
    """Unfold the details of the warning that the window shows, over the window.

    Raises:
        LabError: there is none.
    """
    dialog = _window(xdotool, _WARNING)
    _click(xdotool, dialog, _DETAILS)
    told = xdotool("getwindowgeometry", "--shell", _machine_window(xdotool, title))
    place = re.search(r"X=(\d+)\nY=(\d+)", told)
    assert place is not None
    moved = [str(int(at) + by) for at, by in zip(place.groups(), _CORNER, strict=True)]
    xdotool("windowmove", "--sync", dialog, *moved, "sleep", "1")


def select_snapshot(xdotool: Xdotool, place: int) -> None:
    """In VirtualBox Manager with its list of snapshots, select the one in that place, from 0.

    Raises:
        LabError: it does not show.
    """
    manager = _window(xdotool, _MANAGER)
    # It lays itself out once it is there.
    time.sleep(5)
    _click(xdotool, manager, _FIRST_SNAPSHOT)
    for _ in range(place):
        xdotool("key", "Down", "sleep", "0.3")
    time.sleep(1)


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
