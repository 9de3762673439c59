"""The one connection to VirtualBox, through its own SDK, `vboxapi`.

The SDK comes with VirtualBox and is imported when it is needed, since reading a file needs none.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from host_service.errors import HostError

__all__ = ["VirtualBoxError", "array", "connect", "in_words", "translated"]

# VBOX_E_INVALID_VM_STATE, VBOX_E_INVALID_OBJECT_STATE, VBOX_E_OBJECT_IN_USE
_BUSY = (0x80BB0002, 0x80BB0007, 0x80BB000C)


class VirtualBoxError(HostError):
    """What was asked of VirtualBox cannot be had."""


@functools.cache
def connect() -> tuple[Any, Any]:
    """The SDK's manager and IVirtualBox, one for the process: XPCOM cannot be started again.

    Raises VirtualBoxError when there is no SDK or no VirtualBox.
    """
    try:
        import vboxapi
    except ImportError:
        raise VirtualBoxError(
            "VirtualBox's Python SDK (vboxapi) is not installed",
            advice="name a .sav file instead, or set VBOX_SDK_PATH and PYTHONPATH to the SDK",
        ) from None
    try:
        manager = vboxapi.VirtualBoxManager(None, None)
        box = manager.getVirtualBox()
    except Exception as error:
        raise VirtualBoxError(
            f"VirtualBox does not answer: {in_words(error)}",
            advice="check that VBoxManage list vms works for this user",
        ) from None
    atexit.register(_release, [manager])
    return manager, box


def _release(managers: list[Any]) -> None:
    """Let go of VirtualBox while its modules are still there: later, its teardown crashes."""
    connect.cache_clear()
    with contextlib.suppress(Exception):
        managers.pop().deinit()


def in_words(error: Exception) -> str:
    """What VirtualBox says of an error of its own, in a line."""
    said = str(getattr(error, "msg", None) or error)
    return said.splitlines()[0] if said else type(error).__name__


@contextlib.contextmanager
def translated(vm: str = "") -> Iterator[None]:
    """Errors that VirtualBox raises within become VirtualBoxError."""
    try:
        yield
    except connect()[0].oXcptClass as error:
        said = in_words(error)
        if getattr(error, "errno", 0) & 0xFFFFFFFF in _BUSY:
            advice = "if a checkpoint is under way, wait for it"
            raise VirtualBoxError(f"VirtualBox is busy with this VM ({said})", vm, advice) from None
        raise VirtualBoxError(f"VirtualBox says: {said}", vm) from None


def array(item: Any, attribute: str) -> list[Any]:
    """An attribute that holds several: the bindings read those in a way of their own."""
    return list(connect()[0].getArray(item, attribute))
