"""VirtualBox as this project uses it: through its own SDK, `vboxapi`, in one place.

The SDK comes with VirtualBox and is imported when it is needed, since reading a file needs none.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
from pathlib import Path
from typing import Any

from sparc.errors import SparcError

__all__ = ["VirtualBoxError", "saved_state"]


class VirtualBoxError(SparcError):
    """What was asked of VirtualBox cannot be had: `cause`, for which `vm`, and the `advice`."""

    def __init__(self, cause: str, vm: str = "", advice: str = "") -> None:
        super().__init__(cause, vm, advice)
        self.cause = cause
        self.vm = vm
        self.advice = advice


@functools.cache
def _virtualbox() -> Any:
    """The IVirtualBox object, one for the process: XPCOM cannot be started a second time.

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
            f"VirtualBox does not answer: {_reason(error)}",
            advice="check that VBoxManage list vms works for this user",
        ) from None
    atexit.register(_release, [manager])
    return box


def _release(managers: list[Any]) -> None:
    """Let go of VirtualBox while its modules are still there: later, its teardown crashes."""
    _virtualbox.cache_clear()
    with contextlib.suppress(Exception):
        managers.pop().deinit()


def _reason(error: Exception) -> str:
    return (
        str(getattr(error, "msg", None) or error).splitlines()[0]
        if str(error)
        else type(error).__name__
    )


def saved_state(vm: str, snapshot: str | None = None) -> Path:
    """The saved-state file of a VM, by name or UUID, or of one of its snapshots.

    Without `snapshot`: that of the VM itself if it is saved, else of its current snapshot. Raises
    VirtualBoxError: no such VM or snapshot, or one that was taken while the VM was off.
    """
    try:
        machine = _virtualbox().findMachine(vm)
    except VirtualBoxError:
        raise
    except Exception:
        raise VirtualBoxError(
            "there is no such file and no such VM", vm, "VBoxManage list vms shows all"
        ) from None
    return Path(_state_file(machine, vm, snapshot))


def _state_file(machine: Any, vm: str, snapshot: str | None) -> str:
    if snapshot is None:
        if machine.stateFilePath:
            return str(machine.stateFilePath)
        found = machine.currentSnapshot
        if found is None:
            raise VirtualBoxError(
                "the VM is not saved and has no snapshot", vm, "save it or take a snapshot first"
            )
    else:
        try:
            found = machine.findSnapshot(snapshot)
        except Exception:
            raise VirtualBoxError(
                f"the VM has no snapshot {snapshot}",
                vm,
                f"VBoxManage snapshot {vm} list shows all",
            ) from None
    path = found.machine.stateFilePath
    if not path:
        raise VirtualBoxError(
            f"the snapshot {found.name} was taken while the VM was off, so it holds no memory", vm
        )
    return str(path)
