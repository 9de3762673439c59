"""What a program can do with checkpoints: the functions of `import sparc`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sparc.audit.many import audit_all
from sparc.audit.report import Report
from sparc.audit.run import audit
from sparc.audit.secrets import given_secrets

if TYPE_CHECKING:
    from host_service.checkpoint import Checkpoint
    from host_service.restore import Restored
    from sparc.audit.cluster import Tls

__all__ = ["audit_file", "audit_files", "checkpoint", "restore", "saved_state"]

Tell = Callable[[int, int], None]
"""Called now and then with how much is done, and of how much."""


def checkpoint(
    vm: str,
    name: str | None = None,
    description: str = "",
    *,
    live: bool = False,
    progress: Tell | None = None,
) -> Checkpoint:
    """Take a snapshot of a running or paused VM, without what is excluded in its guest.

    `vm` is a name or UUID; `name` is one line, by default like "sparc 2026-11-22 20:31:07". `live`
    asks for one of VirtualBox's live snapshots. `progress` gets per cent, and 100.

        >>> import sparc
        >>> done = sparc.checkpoint("web", "before", "taken by a program")
        >>> done.verdict.clean, done.snapshot.name
        (True, 'before')

    Raises:
        HostError: nothing was taken, as where this Python has no SDK of VirtualBox (`vboxapi`).
    """
    from host_service.checkpoint import default_name, take

    chosen = default_name(datetime.now()) if name is None else name
    return take(vm, chosen, description, live=live, tell=progress)


def restore(
    vm: str,
    snapshot: str,
    *,
    force: bool = False,
    start: bool = True,
    front_end: str = "",
    progress: Tell | None = None,
) -> Restored:
    """Make a VM what it was at a snapshot (its name or UUID), and start it.

    A VM that runs, is paused or is saved is given up only with `force`, and powered off first. It
    is started in `front_end` ("gui" or "headless"), by default what it ran in last, or with `start`
    False left off.

        >>> import sparc
        >>> back = sparc.restore("web", "before", force=True, start=False)
        >>> back.verdict.clean, back.snapshot.name, back.front_end
        (True, 'before', None)

    Raises:
        HostError: it was not restored, or not started; the cause says how far it came.
    """
    from host_service import restore as host
    from host_service.virtualbox import start as starter

    return host.restore(
        vm,
        snapshot,
        force=force,
        front_end=front_end,
        starter=starter if start else None,
        tell=progress,
    )


def saved_state(vm: str, snapshot: str | None = None) -> Path:
    """The file that holds a snapshot's saved state, or without one the VM's own or current one.

        >>> import sparc
        >>> with sparc.SavedState(sparc.saved_state("web", "before")) as state:
        ...     state.ram_size >> 20
        1024

    Raises:
        HostError: there is none.
    """
    from host_service.hypervisor import saved_state as find

    return find(vm, snapshot)


def audit_file(
    path: str | os.PathLike[str], secrets: Iterable[str | bytes], *, progress: Tell | None = None
) -> Report:
    """Search a saved state for secrets, in all forms that `sparc audit` looks for.

    Each is of 4 to 1024 bytes, text as UTF-8; there are at most 2000. They are numbered from 1 in
    the report, whose `status` is CLEAN, RESIDUE, or INCOMPLETE where `problems` says what could not
    be read. Addresses are guest-physical, in bytes. `progress` gets bytes of the file. It forks.

        >>> import sparc
        >>> report = sparc.audit_file("before.sav", [b"correct horse"])
        >>> report.status == sparc.CLEAN, report.findings
        (True, [])

    Raises:
        NotReadable, NotASavedState, Unsupported: there is nothing to search.
        SecretsError: a secret is too short or long, or there are too many or none.
    """
    return audit(path, given_secrets(secrets), progress)


def audit_files(
    paths: Iterable[str | os.PathLike[str]],
    secrets: Iterable[str | bytes],
    *,
    scheduler: str | None = None,
    tls: Tls | None = None,
    progress: Tell | None = None,
) -> list[Report]:
    """The same for many, with all processors of this machine; a report for each, in their order.

    With `scheduler` (an address, as "tls://host:8786") the workers of a Dask cluster do it, which
    see the files under the same names and learn the secrets; `tls` names the files to speak to it
    with, else Dask's configuration does. A file that cannot be read is INCOMPLETE, and raises
    nothing. `progress` gets bytes of all files.

        >>> import sparc
        >>> reports = sparc.audit_files(["before.sav", "none.sav"], ["hunter2!"])
        >>> [report.status for report in reports] == [sparc.RESIDUE, sparc.INCOMPLETE]
        True
        >>> reports[1].problems
        [NotReadable('none.sav', 'No such file or directory')]

    Raises:
        SecretsError: as for audit_file.
        ClusterError: the cluster cannot be reached, or is not to be told secrets.
        ModuleNotFoundError: `scheduler` needs distributed, as in `pip install sparc[cluster]`.
    """
    files = [os.fspath(path) for path in paths]
    pool = None
    if scheduler is not None:
        from sparc.audit.cluster import workers_at

        pool = workers_at(scheduler, tls)
    return audit_all(files, given_secrets(secrets), pool, progress)
