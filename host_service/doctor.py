"""Whether a host is set up as it must be: one function for each thing, over what it can see."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from host_service import extension_pack, run_dir
from host_service.errors import HostError
from host_service.extension_pack import Pack
from host_service.verdict import Verdict
from host_service.vm_socket import PackStatus
from sparc.findings import Finding, bad, good, note, unknown
from sparc.wire import VERSION

if TYPE_CHECKING:
    from host_service.virtualbox import Machine

__all__ = ["Host", "Vm", "examine"]

_OLDEST, _NEWEST = (7, 0), (7, 2)
_SDK = "install VirtualBox, and set VBOX_SDK_PATH and PYTHONPATH to its SDK"
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_ENTER = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True)
class Vm:
    """A VM as far as it is of interest. `named`: it was asked for, so it is to be protected.

    `pack`: what the pack in its process says, or why it gives no answer; None where there is none.
    `last`: the newest saved state, by its snapshot's name ("": the VM's own), and what it is worth.
    `states`: all saved states, in `folder` or wherever.
    """

    name: str
    running: bool
    named: bool = False
    policy: str = ""
    pack: PackStatus | HostError | None = None
    last: tuple[str, Verdict] | None = None
    folder: Path | None = None
    states: tuple[Path, ...] = ()
    problem: str = ""

    @property
    def protected(self) -> bool:
        """Whether it is to be: somebody said so, or its guest has excluded programs before."""
        if self.policy == "off":
            return False
        with_module = isinstance(self.pack, PackStatus) and self.pack.module
        report = (self.last[1].report or self.last[1].doubted) if self.last else None
        return self.named or bool(self.policy) or with_module or bool(report and report.excluded)


@dataclass
class Host:
    """What a check may see; each raises HostError where it is not to be had. Tests have others.

    `vms`: names or UUIDs; none: all of this user's.
    """

    vms: tuple[str, ...] = ()
    version: Callable[[], str] = extension_pack.virtualbox_version
    installed: Callable[[], Pack | None] = extension_pack.installed
    folder: Callable[[], Path] = run_dir.usable_run_dir
    look: Callable[[tuple[str, ...]], list[Vm]] | None = None
    _found: list[Vm] | HostError | None = field(default=None, repr=False)

    def machines(self) -> list[Vm]:
        """The VMs, asked for once."""
        if self._found is None:
            try:
                self._found = (self.look or _machines)(self.vms)
            except HostError as error:
                self._found = error
        if isinstance(self._found, HostError):
            raise self._found
        return self._found


def _machines(names: tuple[str, ...]) -> list[Vm]:
    from host_service import virtualbox

    found = [virtualbox.find(name) for name in names] if names else virtualbox.machines()
    return [_vm(machine, named=bool(names)) for machine in found]


def _vm(machine: Machine, *, named: bool) -> Vm:
    from host_service import virtualbox
    from host_service.status import last_checkpoint
    from host_service.virtualbox.machine import State
    from host_service.vm_socket import ask

    state = machine.state
    if state is State.INACCESSIBLE:
        return Vm(machine.name, False, named, problem="VirtualBox cannot read its settings")
    pack: PackStatus | HostError | None
    try:
        pack = ask(machine.uuid)
    except HostError as error:
        pack = error
    running = state in (State.RUNNING, State.PAUSED, State.BUSY)
    with virtualbox.translated(machine.name):
        policy = machine.extra("SPARC/Policy")
    if state is State.BUSY:  # with a checkpoint half made
        return Vm(machine.name, running, named, policy, pack)
    with virtualbox.translated(machine.name):
        taken = [snapshot.state_file for snapshot in machine.snapshots()]
        states = {path for path in [*taken, machine.state_file] if path is not None}
        last = last_checkpoint(machine)
        return Vm(
            machine.name,
            running,
            named,
            policy,
            pack,
            (last.name, last.verdict) if last else None,
            Path(str(machine.handle.snapshotFolder)),
            tuple(sorted(states)),
        )


def examine(host: Host) -> list[Finding]:
    """Everything, in the order in which it is best mended."""
    found = [finding for check in _CHECKS for finding in check(host)]
    try:
        machines = host.machines()
    except HostError as error:
        advice = _SDK if "vboxapi" in error.cause else error.advice
        return [*found, unknown("VMs", f"cannot be looked at: {error.cause}", advice)]
    for vm in machines:
        found += [finding for check in _VM_CHECKS for finding in check(vm)]
    return found


def virtualbox_there(host: Host) -> Iterator[Finding]:
    """Whether it is one that the pack was made for."""
    what = "VirtualBox"
    try:
        version = host.version()
    except HostError as error:
        yield bad(what, error.cause, error.advice or "install VirtualBox 7.2")
        return
    found = re.match(r"(\d+)\.(\d+)", version)
    supported = "{}.{} to {}.{}".format(*_OLDEST, *_NEWEST)
    if found is None:
        yield unknown(what, f"its version cannot be read: {version}")
    elif not _OLDEST <= (int(found[1]), int(found[2])) <= _NEWEST:
        yield bad(what, f"{version} is not supported, {supported} are", "install VirtualBox 7.2")
    else:
        yield good(what, version)


def pack_there(host: Host) -> Iterator[Finding]:
    """Whether VirtualBox has the extension pack and can use it."""
    what = "extension pack"
    try:
        pack = host.installed()
    except HostError as error:
        yield unknown(what, error.cause, error.advice)
        return
    if pack is None:
        yield bad(what, "not installed", "sparc host install")
    elif pack.unusable:
        mend = "sparc host uninstall && sparc host install"
        yield bad(what, f"{pack.version} cannot be used: {pack.unusable}", mend)
    else:
        yield good(what, f"{pack.version}, usable")


def sockets(host: Host) -> Iterator[Finding]:
    """Whether the folder of sockets is this user's alone."""
    what = "sockets"
    try:
        path = host.folder()
    except FileNotFoundError:
        yield good(what, "no VM with the pack has run since the boot")
    except HostError as error:
        yield bad(what, error.cause, error.advice)
    else:
        yield good(what, f"in {path}, which is this user's alone")


def pack_in_vm(vm: Vm) -> Iterator[Finding]:
    """Whether it is at work in a VM that runs, and found the guest's mailbox."""
    what, quoted = f"{vm.name}: pack", shlex.quote(vm.name)
    if vm.problem:
        yield unknown(what, vm.problem, "VBoxManage list vms --long")
        return
    if not vm.running:
        return
    again = f"VBoxManage controlvm {quoted} acpipowerbutton, and when it is off: VBoxManage startvm"
    if isinstance(vm.pack, HostError):
        yield bad(what, vm.pack.cause, vm.pack.advice or f"{again} {quoted}")
        return
    if vm.pack is None:
        says = "not in this VM's process, which was started before it was installed"
        yield bad(what, says, f"{again} {quoted}")
        return
    yield good(what, f"{vm.pack.pack}, {vm.pack.state}")
    yield _mailbox(vm, vm.pack)


def _mailbox(vm: Vm, pack: PackStatus) -> Finding:
    what = f"{vm.name}: mailbox"
    if not pack.module:
        says, mend = "not found: no module in the guest", "in the guest: sparc doctor"
        return bad(what, says, mend) if vm.protected else note(what, says, mend)
    if pack.abi != VERSION:
        says = f"the guest's module has ABI {pack.abi}, this host's pack {VERSION}"
        return bad(what, says, "install both from one release")
    return good(what, f"found, ABI {pack.abi}, processes excluded: {pack.members}")


def policy(vm: Vm) -> Iterator[Finding]:
    """Whether what is not clean is refused."""
    what, now = f"{vm.name}: policy", vm.policy
    if isinstance(vm.pack, PackStatus):
        now = vm.pack.policy
    if now not in ("", "strict"):
        says = {"warn": "warn: a checkpoint that is not clean is taken"}.get(
            now, f"{now}: no checkpoint is clean"
        )
        yield note(what, says, f"sparc host policy {shlex.quote(vm.name)} strict")


def checkpoint(vm: Vm) -> Iterator[Finding]:
    """Whether the last one is clean."""
    if vm.last is None:
        return
    name, verdict = vm.last
    what = f"{vm.name}: last checkpoint"
    told = f"{name or 'saved state'}: {verdict.why}"
    if verdict.clean:
        yield good(what, told)
        return
    quoted = shlex.quote(vm.name)
    old = f"sparc scrub {shlex.quote(f'{vm.name}:{name}')} --free" if name else "discard it"
    mend = f"sparc checkpoint {quoted}; the old one: {old}, or delete it"
    says = f"NOT CLEAN: {told}"
    yield bad(what, says, mend) if vm.protected else note(what, says, mend)


def readers(vm: Vm) -> Iterator[Finding]:
    """Whether others than the owner may read saved states."""
    what = f"{vm.name}: snapshot folder"
    if vm.folder is None:
        return
    try:
        folders = {path: path.stat() for path in {vm.folder, *(s.parent for s in vm.states)}}
    except FileNotFoundError:
        if not vm.states:  # it is made with the first snapshot
            return
        yield unknown(what, f"{vm.folder} or a saved state's folder is not there")
        return
    except OSError as error:
        yield unknown(what, f"{vm.folder}: {error.strerror}")
        return
    open_folders = {path for path, found in folders.items() if found.st_mode & _OTHERS_ENTER}
    listed = [path for path, found in folders.items() if found.st_mode & _OTHERS_READ]
    exposed = []
    for path in vm.states:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            yield unknown(what, f"{path}: {error.strerror}")
            continue
        if mode & _OTHERS_READ and path.parent in open_folders:
            exposed.append(path)
    wide = sorted({*listed, *(path.parent for path in exposed)})
    if wide:
        says = ", ".join(map(str, wide))
        count = f"; saved states that they may read: {len(exposed)}" if exposed else ""
        yield bad(
            what,
            f"others may read {says}{count}",
            "chmod -R go-rwx " + " ".join(shlex.quote(str(p)) for p in wide),
        )
    else:
        yield good(what, "nobody else may read it")


_CHECKS = (virtualbox_there, pack_there, sockets)
_VM_CHECKS = (pack_in_vm, policy, checkpoint, readers)
