"""Where checkpoints of QEMU's VMs lie, and what lies beside them, for their user's eyes only.

Each VM has a folder; in it for each checkpoint NAME.ckpt, QEMU's stream; NAME.sparc.json, the
report; NAME.machine.json, what the VM was started with and where its memory is. And policy.json.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from host_service import fields
from host_service.errors import HostError
from host_service.fields import Fields, Malformed
from host_service.reports import POLICIES

__all__ = [
    "Checkpointed",
    "Disk",
    "Machine",
    "Policy",
    "base",
    "checkpoint",
    "checkpoints",
    "folder_of",
    "machine_file",
    "made_folder",
    "read_machine",
    "read_policy",
    "replacing",
    "state_file",
    "temporary",
    "vms",
    "write_machine",
    "write_policy",
]

SUFFIX = ".ckpt"
_POLICY = "policy.json"
_MOST = 16 << 20
_TIMEOUT_MS = 5000


@dataclass(frozen=True)
class Policy:
    """What is done if the guest does not prepare itself, and how long it may take."""

    mode: str = "strict"
    timeout_ms: int = _TIMEOUT_MS


@dataclass(frozen=True)
class Disk:
    """A disk that the VM writes to. `snapshot` is the one in its file, or "" where there is none.

    `changed` and `bytes` are the file's when the checkpoint was taken: nanoseconds, and its size.
    """

    device: str
    file: str
    format: str
    snapshot: str
    changed: int
    bytes: int


@dataclass(frozen=True)
class Machine:
    """How the VM was started, and what it had; `qemu` is its version.

    `memory` has (GPA, bytes, block, offset).
    """

    name: str
    uuid: str
    qemu: str
    argv: list[str]
    folder: str
    taken: str
    memory: list[tuple[int, int, str, int]]
    disks: list[Disk]


@dataclass(frozen=True)
class Checkpointed:
    """A checkpoint that is there."""

    name: str
    state_file: Path
    taken: datetime


def base() -> Path:
    """The folder of all VMs of this user."""
    home = os.environ.get("XDG_STATE_HOME", "")
    # A relative one is to be ignored, says the specification.
    root = Path(home) if home.startswith("/") else Path.home() / ".local/state"
    return root / "sparc/qemu"


def folder_of(vm: str) -> Path:
    """A VM's folder, which need not be there."""
    # A name may have anything in it.
    name = quote(vm, safe=" ") or "%"
    return base() / re.sub(r"^\.", "%2E", name)


def vms() -> list[str]:
    """The names of all that have a folder."""
    with contextlib.suppress(OSError):
        return sorted(unquote(entry.name) for entry in base().iterdir() if entry.is_dir())
    return []


def state_file(vm: str, name: str) -> Path:
    """Where the checkpoint of that name is, or would be. Raises HostError for no such name."""
    if not name.strip() or not name.isprintable():
        raise HostError("a checkpoint's name is text on one line")
    file = re.sub(r"^\.", "%2E", quote(name, safe=" :+")) + SUFFIX
    if len(file) > 200:
        raise HostError("that name is too long for a file", vm)
    return folder_of(vm) / file


def checkpoints(vm: str) -> list[Checkpointed]:
    """All of a VM, the oldest first."""
    found = []
    with contextlib.suppress(OSError):
        for path in folder_of(vm).glob(f"*{SUFFIX}"):
            when = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            with contextlib.suppress(HostError):
                when = datetime.fromisoformat(read_machine(path).taken)
            found.append(Checkpointed(unquote(path.name.removesuffix(SUFFIX)), path, when))
    return sorted(found, key=lambda one: (one.taken, one.name))


def checkpoint(vm: str, name: str | None = None) -> Checkpointed:
    """That of that name, or the newest. Raises HostError: there is none."""
    found = checkpoints(vm)
    if name is None and found:
        return found[-1]
    for one in found:
        if one.name == name:
            return one
    what = f"the VM has no checkpoint {name}" if name else "the VM has no checkpoint"
    raise HostError(what, vm, f"sparc list {vm} shows all")


def made_folder(vm: str) -> Path:
    """A VM's folder, made if it is not there. Raises HostError."""
    path = folder_of(vm)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (path, path.parent):
            status = folder.stat()
            if status.st_uid != os.geteuid():
                raise HostError(f"{folder} belongs to somebody else", advice="remove it")
            if status.st_mode & 0o077:
                folder.chmod(0o700)
    except OSError as error:
        raise HostError(f"{path} cannot be made: {error.strerror}", vm) from None
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file (mode 0600) that gets that name when it is whole and on the disk. Raises OSError."""
    new = temporary(path)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(new, flags, 0o600), "wb", 1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        new.unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """What a file is called until it is whole; no checkpoint is called so."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


# -- what lies beside them


def machine_file(state_file: Path) -> Path:
    """Beside a checkpoint: how its VM was started."""
    return state_file.with_name(state_file.name.removesuffix(SUFFIX) + ".machine.json")


def write_machine(state_file: Path, machine: Machine) -> None:
    """Raises OSError."""
    with replacing(machine_file(state_file)) as file:
        file.write(json.dumps({"version": 1, **asdict(machine)}, indent=2).encode() + b"\n")


def read_machine(state_file: Path) -> Machine:
    """Raises HostError: it is not there, or not what we write."""
    path = machine_file(state_file)
    try:
        with path.open("rb") as file:
            found = fields.load(file.read(_MOST))
        f = Fields(found)
        if f.number("version") != 1:
            raise Malformed("of a version that is not known")
        memory = [(int(g), int(n), str(b), int(o)) for g, n, b, o in found["memory"]]
        disks = [
            Disk(
                disk.text("device", 1024),
                disk.text("file", 4096),
                disk.text("format", 64),
                disk.text("snapshot", 1024),
                disk.number("changed"),
                disk.number("bytes"),
            )
            for disk in f.list("disks", 1024)
        ]
        names = ("name", "uuid", "qemu", "folder", "taken")
        told: dict[str, Any] = {name: f.text(name, 4096) for name in names}
        argv = [str(word) for word in found["argv"]]
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}") from None
    except (Malformed, KeyError, TypeError, ValueError) as error:
        raise HostError(f"{path} cannot be understood: {error}") from None
    return Machine(argv=argv, memory=memory, disks=disks, **told)


def read_policy(vm: str) -> Policy:
    """What a VM is set to; what cannot be understood is strict."""
    try:
        with (folder_of(vm) / _POLICY).open("rb") as file:
            f = Fields(fields.load(file.read(_MOST)))
        timeout = f.number("timeout_ms")
        return Policy(f.one_of("policy", POLICIES), min(max(timeout, 100), 600_000))
    except (OSError, Malformed):
        return Policy()


def write_policy(vm: str, mode: str, timeout_ms: int | None) -> None:
    """Set it; without a time, that stays. Raises HostError."""
    before = read_policy(vm)
    chosen = {"policy": mode, "timeout_ms": timeout_ms or before.timeout_ms}
    path = made_folder(vm) / _POLICY
    try:
        with replacing(path) as file:
            file.write(json.dumps(chosen).encode() + b"\n")
    except OSError as error:
        raise HostError(f"{path} cannot be written: {error.strerror}", vm) from None
