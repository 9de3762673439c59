"""QEMU's processes on this machine, and what their command lines say of them."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from host_service.errors import HostError

__all__ = ["QemuProcess", "find", "process", "running", "start_time"]

_PEER = struct.Struct("3i")
_PROC = Path("/proc")
_PROGRAM = re.compile(r"qemu-system-\w+|qemu-kvm|kvm")


@dataclass(frozen=True)
class QemuProcess:
    """A VM that runs. `monitor` is the path of its QMP socket as this process sees it, or None.

    `started` tells it from a later process with its pid.
    """

    pid: int
    started: int
    name: str
    argv: tuple[str, ...]
    monitor: Path | None


def running() -> list[QemuProcess]:
    """All that this user may look at, by name."""
    found = [_process(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return sorted((one for one in found if one is not None), key=lambda one: (one.name, one.pid))


def find(vm: str) -> QemuProcess | None:
    """The one that was started with that `-name`, or listens at that path; None: there is none.

    Raises:
        HostError: there are several.
    """
    found = [one for one in running() if vm in (one.name, str(one.monitor))]
    if not found and _is_socket(vm):
        found = [one for one in running() if one.monitor and _same(one.monitor, Path(vm))]
    if len(found) > 1:
        pids = ", ".join(str(one.pid) for one in found)
        raise HostError(f"several QEMU processes have that name: {pids}", vm, "name the QMP socket")
    return found[0] if found else None


def process(vm: str, monitor: Path | None = None) -> QemuProcess:
    """The same; with `monitor`, the one that listens there, whatever its command line says.

    Raises:
        HostError: there is none.
    """
    if monitor is None:
        found = find(vm)
        if found is None:
            raise HostError("no QEMU of that name runs", vm, "name its QMP socket: --qmp PATH")
        # One without a name is called what it was found by.
        return dataclasses.replace(found, name=found.name or vm)
    pid = _listener(monitor)
    for one in running():
        if one.pid == pid:
            # The keeper is in another folder than we are.
            return dataclasses.replace(one, name=one.name or vm, monitor=monitor.absolute())
    raise HostError(f"it is not QEMU that listens at {monitor}", vm)


def _listener(monitor: Path) -> int:
    """The process that made that socket."""
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(1)
            link.connect(str(monitor))
            credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError as error:
        cause = f"QEMU cannot be reached at {monitor}: {error.strerror or error}"
        raise HostError(cause) from None
    return int(_PEER.unpack(credentials)[0])


def start_time(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks; None if there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _process(pid: int) -> QemuProcess | None:
    folder = _PROC / str(pid)
    started = start_time(pid)
    try:
        words = (folder / "cmdline").read_bytes().split(b"\0")[:-1]
        argv = tuple(os.fsdecode(word) for word in words)
        if started is None or not argv or not _PROGRAM.fullmatch(Path(argv[0]).name):
            return None
        monitor = _monitor(argv)
        if monitor is not None:
            # Its own root and folder may be others than ours.
            side = "root" if monitor.is_absolute() else "cwd"
            inside = monitor.relative_to(monitor.anchor)
            own = os.path.realpath(folder / "root") == "/"
            monitor = monitor if own and monitor.is_absolute() else folder / side / inside
    except OSError:
        return None
    return QemuProcess(pid, started, _name(argv), argv, monitor)


def _values(argv: tuple[str, ...], option: str) -> list[str]:
    """What follows each `-option`, which QEMU takes with two dashes, too."""
    pairs = itertools.pairwise(argv)
    return [value for word, value in pairs if word in (f"-{option}", f"--{option}")]


def _options(text: str) -> dict[str, str]:
    """`a=b,c=d` as QEMU reads it, where a doubled comma is one; what has no name is ""."""
    parts = [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]
    pairs = [part.partition("=") for part in parts]
    return {name if equals else "": value if equals else name for name, equals, value in pairs}


def _name(argv: tuple[str, ...]) -> str:
    for value in _values(argv, "name"):
        options = _options(value)
        return options.get("guest", options.get("", ""))
    return ""


def _monitor(argv: tuple[str, ...]) -> Path | None:
    for value in _values(argv, "qmp") + _values(argv, "qmp-pretty"):
        kind, _, rest = value.partition(":")
        if kind == "unix":
            return Path(rest.partition(",")[0])
    sockets = {}
    for value in _values(argv, "chardev"):
        options = _options(value)
        if "path" in options and "id" in options:
            sockets[options["id"]] = options["path"]
    for value in _values(argv, "mon"):
        options = _options(value)
        chardev = options.get("chardev", options.get("", ""))
        if options.get("mode") == "control" and chardev in sockets:
            return Path(sockets[chardev])
    return None


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
