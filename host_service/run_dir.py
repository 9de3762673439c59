"""The folder of sockets that the parts on one host share, each user's own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from host_service.errors import HostError

__all__ = ["BASE", "hostd_lock", "hostd_socket", "run_dir", "usable_run_dir", "vm_socket"]

BASE = Path("/run")


def run_dir(uid: int | None = None, base: Path = BASE) -> Path:
    """Where it is for a user. No environment variable decides it: each part must find the same.

    Root's is not `/run/sparc`: that is a guest's, and one machine may be both.
    """
    uid = os.geteuid() if uid is None else uid
    return base / "sparc-host" if uid == 0 else base / "user" / str(uid) / "sparc"


def usable_run_dir(*, make: bool = False, base: Path = BASE) -> Path:
    """Our own, checked, and made first if so wished.

    Raises:
        FileNotFoundError: there is none, and it was not to be made.
        HostError: it cannot be made, or others could have put something into it.
    """
    path = run_dir(base=base)
    if make:
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise HostError(
                f"{path} cannot be made: {error.strerror}",
                advice="log in, so that /run/user has a folder of yours",
            ) from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise HostError(f"{path} is not a folder", advice="remove it")
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise HostError(f"{path} is not ours alone", advice="remove it, or make it mode 0700")
    return path


def hostd_socket(folder: Path) -> Path:
    """Where `sparc-hostd` listens."""
    return folder / "hostd.sock"


def hostd_lock(folder: Path) -> Path:
    """What a running `sparc-hostd` holds a lock on."""
    return folder / "hostd.lock"


def vm_socket(folder: Path, uuid: str) -> Path:
    """Where the extension pack in the process of a VM answers."""
    return folder / f"vm-{uuid}.sock"
