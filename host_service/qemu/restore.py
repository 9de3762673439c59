"""Back to a checkpoint of a VM of QEMU: its disks, then a fresh QEMU that loads the state."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from host_service import journal, programs
from host_service.errors import HostError
from host_service.qemu import processes, store
from host_service.qemu.monitor import Monitor
from host_service.qemu.processes import QemuProcess
from host_service.qemu.store import Checkpointed, Machine
from host_service.verdict import Verdict, judge
from sparc.programs import last_line

__all__ = ["Start", "command_line", "launch", "restore"]

_END_SECONDS = 30.0
_START_SECONDS = 30.0
_LOAD_SECONDS = 600.0
_STEP_SECONDS = 0.05

Run = Callable[[list[str]], "subprocess.CompletedProcess[str]"]
"""Runs a program to its end."""
Start = Callable[[Machine, list[str]], None]
"""Starts a VM by that command line, and leaves it to itself. Raises HostError."""


def restore(
    vm: str,
    name: str,
    *,
    force: bool = False,
    waiting: Path | None = None,
    run: Run = programs.run,
    start: Start | None = None,
) -> tuple[Checkpointed, Machine, Verdict, str]:
    """Make a VM what it was at that checkpoint, and let it run; what it is, and why that is not in
    the journal, or "".

    A VM that runs is given up only by `force`; `force` does not mind either that a disk without a
    snapshot was written to since. With `waiting`, the QMP socket of a QEMU that was started with
    `-incoming defer`, the state is loaded into that, and disks are left to who started it.

    Raises:
        HostError: it was not restored; the cause says how far it came.
    """
    found = store.checkpoint(vm, name)
    machine = store.read_machine(found.state_file)
    verdict = judge(found.state_file, machine.uuid)
    if waiting is not None:
        with Monitor(waiting, vm) as monitor:
            _load(monitor, found.state_file, vm)
        return found, machine, verdict, _note(found, machine, verdict)
    process = processes.find(vm)
    if process is not None:
        if not force:
            advice = "what it does now would be lost; --force does it all the same"
            raise HostError("the VM is running", vm, advice)
        _quit(process)
    if not force:
        _check_disks(machine)
    for disk in machine.disks:
        if disk.snapshot:
            done = run(["qemu-img", "snapshot", "-a", disk.snapshot, disk.file])
            if done.returncode:
                raise HostError(f"qemu-img: {last_line(done.stderr)}", vm)
    (start or launch)(machine, command_line(machine.argv))
    with _await_monitor(vm) as monitor:
        _load(monitor, found.state_file, vm)
    return found, machine, verdict, _note(found, machine, verdict)


def command_line(argv: list[str]) -> list[str]:
    """The same VM, waiting for a state."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in ("-incoming", "--incoming"):
            next(words, None)
        elif word not in ("-S", "--S"):
            kept.append(word)
    return [*kept, "-incoming", "defer"]


def launch(machine: Machine, argv: list[str]) -> None:
    """Start it as a process of its own; what it prints goes into qemu.log in the VM's folder."""
    log = store.made_folder(machine.name) / "qemu.log"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(log, flags, 0o600), "ab") as sink:
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=machine.folder,
                start_new_session=True,
            )
    except OSError as error:
        cause = f"QEMU cannot be started: {error.strerror}"
        raise HostError(cause, machine.name, "start it with -incoming defer, and --qmp") from None


def _quit(process: QemuProcess) -> None:
    """End a VM, and wait until it is gone."""
    if process.monitor is None:
        raise HostError("this VM has no QMP socket", process.name, "end it first")
    with Monitor(process.monitor, process.name) as monitor, contextlib.suppress(HostError):
        # It may be gone before it has answered.
        monitor.ask("quit")
    end = time.monotonic() + _END_SECONDS
    while processes.start_time(process.pid) == process.started:
        if time.monotonic() > end:
            raise HostError("QEMU was told to end, and does not", process.name)
        time.sleep(_STEP_SECONDS)


def _check_disks(machine: Machine) -> None:
    for disk in machine.disks:
        if disk.snapshot:
            continue
        try:
            status = Path(disk.file).stat()
        except OSError as error:
            cause = f"its disk {disk.file} is not there: {error.strerror}"
            raise HostError(cause, machine.name) from None
        if (status.st_mtime_ns, status.st_size) != (disk.changed, disk.bytes):
            raise HostError(
                f"its disk {disk.file} was written to since, and has no snapshot ({disk.format})",
                machine.name,
                "put back a copy of that time; --force does it all the same, and harms its files",
            )


def _await_monitor(vm: str) -> Monitor:
    """The connection to a VM that was just started."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        process = processes.find(vm)
        if process is not None and process.monitor is not None:
            # A socket of that name may be there from before.
            with contextlib.suppress(HostError):
                return Monitor(process.monitor, vm)
        time.sleep(_STEP_SECONDS)
    log = store.folder_of(vm) / "qemu.log"
    raise HostError("QEMU does not start", vm, f"{log} says more")


def _load(monitor: Monitor, state_file: Path, vm: str) -> None:
    if monitor.status() != "inmigrate":
        raise HostError("QEMU does not wait for a state", vm, "start it with -incoming defer")
    with _poured(state_file) as pipe:
        monitor.give(pipe, "sparc-load")
        monitor.ask("migrate-incoming", uri="fd:sparc-load")
    end = time.monotonic() + _LOAD_SECONDS
    while (status := monitor.status()) == "inmigrate":
        # One that cannot load it ends, or says so.
        told = monitor.ask("query-migrate")
        if told.get("status") == "failed" or time.monotonic() > end:
            why = told.get("error-desc", "it does not end")
            raise HostError(f"QEMU does not load the checkpoint: {why}", vm)
        time.sleep(_STEP_SECONDS)
    if status != "running":
        monitor.ask("cont")


@contextlib.contextmanager
def _poured(state_file: Path) -> Iterator[int]:
    """A pipe that the file's content comes out of, for who has opened it by the end."""
    ours, theirs = os.pipe()
    try:
        threading.Thread(target=_pour, args=(state_file, theirs), daemon=True).start()
        yield ours
    finally:
        os.close(ours)


def _pour(state_file: Path, pipe: int) -> None:
    try:
        with contextlib.suppress(OSError), state_file.open("rb") as source:
            left = os.fstat(source.fileno()).st_size
            at = 0
            while at < left:
                at += os.sendfile(pipe, source.fileno(), at, left - at)
    finally:
        os.close(pipe)


def _note(found: Checkpointed, machine: Machine, verdict: Verdict) -> str:
    """See `journal.note_restore`."""
    what = journal.Restore(
        datetime.now(UTC),
        machine.name[: journal.LONGEST_NAME],
        machine.uuid,
        found.name[: journal.LONGEST_NAME],
        "",
        verdict.clean,
        verdict.why,
        "qemu",
    )
    return journal.note_restore(what)
