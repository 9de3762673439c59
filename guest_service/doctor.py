"""Whether a guest is set up as it must be: one function for each thing, over what it can see.

Not part of the service: `sparc doctor` imports it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guest_service import client, parts
from guest_service.device import Device, DeviceError
from guest_service.swap_table import Area, areas
from sparc.errors import GuestError
from sparc.findings import Finding, bad, good, note, unknown
from sparc.printable import size
from sparc.reasons import reason
from sparc.wire import VERSION

__all__ = ["Guest", "examine"]

_OLDEST, _NEWEST = (6, 1), (7, 2)
_GROUP = "sparc"
_UNSIGNED = "this kernel loads signed modules only"
_ENROL = (
    "mokutil --import /{}, reboot, choose Enroll MOK, and modprobe sparc; or turn Secure Boot off "
    "in the VM's settings"
)
# Where DKMS has the key: on Debian, and on Ubuntu.
_KEYS = ("var/lib/dkms/mok.pub", "var/lib/shim-signed/mok/MOK.der")


def _open_device() -> int:
    """The ABI of the module. Raises DeviceError. For when no service has the device open."""
    device = Device()
    try:
        return device.version
    finally:
        device.close()


@dataclass
class Guest:
    """What a check may see: files below `root`, the service, and the kernel. Tests have others."""

    root: Path = Path("/")
    ask: Callable[[dict[str, object]], dict[str, Any]] = client.ask
    open_device: Callable[[], int] = _open_device
    release: str = field(default_factory=lambda: os.uname().release)
    version: str = field(default_factory=lambda: os.uname().version)
    machine: str = field(default_factory=lambda: os.uname().machine)
    uid: int = field(default_factory=os.geteuid)
    installed: str = field(default_factory=parts.version)
    _status: dict[str, Any] | GuestError | None = None

    def read(self, path: str) -> str | None:
        """What stands in a file, without the line's end; None if it is not there or for others."""
        try:
            return (self.root / path).read_text("utf-8", "replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.root / path).exists()

    @property
    def loaded(self) -> bool:
        """Whether the module is."""
        return self.exists("dev/sparc") or self.exists("sys/module/sparc")

    @property
    def status(self) -> dict[str, Any] | GuestError:
        """What the service says, asked once."""
        if self._status is None:
            try:
                self._status = self.ask({"command": "status"})
            except GuestError as error:
                self._status = error
        return self._status

    def service_command(self, verb: str) -> str:
        """How the service is started, stopped or whatever, here."""
        if self.exists("run/systemd/system"):
            verb = "enable --now" if verb == "start" else verb
            return f"systemctl {verb} sparc-guestd"
        return f"/etc/init.d/sparc-guestd {verb}"


def examine(guest: Guest) -> list[Finding]:
    """Everything, in the order in which it is best mended."""
    return [finding for check in _CHECKS for finding in check(guest)]


def kernel(guest: Guest) -> Iterator[Finding]:
    """Whether the module is made for it."""
    what = "kernel"
    found = re.match(r"(\d+)\.(\d+)", guest.release)
    if guest.machine != "x86_64":
        yield bad(what, f"{guest.machine} is not supported", "use an x86-64 guest")
    elif "PREEMPT_RT" in guest.version:
        mend = "boot a kernel without PREEMPT_RT"
        yield bad(what, "a real-time kernel (PREEMPT_RT) is not supported", mend)
    elif found is None:
        yield unknown(what, f"its version cannot be read: {guest.release}")
    elif not _OLDEST <= (number := (int(found[1]), int(found[2]))) <= _NEWEST:
        tried = "{}.{} to {}.{}".format(*_OLDEST, *_NEWEST)
        says = f"{guest.release}: tried are {tried}"
        if number < _OLDEST:
            yield bad(what, says, "install a newer kernel")
        else:
            yield note(what, says)
    else:
        yield good(what, guest.release)


def module(guest: Guest) -> Iterator[Finding]:
    """Whether it is loaded, or could be."""
    what = "module"
    if guest.loaded:
        version = guest.read("sys/module/sparc/version")
        if version in (None, guest.installed):
            yield good(what, "loaded")
        else:
            stop, start = (guest.service_command(verb) for verb in ("stop", "start"))
            mend = f"restart the system; or, if no program is excluded: {stop} && rmmod sparc && "
            says = f"{version} is loaded, {guest.installed} is installed"
            yield note(what, says, mend + start)
        return
    listed = guest.read(f"lib/modules/{guest.release}/modules.dep")
    if listed is None:
        mend = "modprobe sparc; if that finds none: make -C kmod && insmod kmod/sparc.ko"
        yield bad(what, "not loaded", mend)
    elif re.search(r"(^|/)sparc\.ko[.\w]*:", listed, re.M):
        yield bad(what, "not loaded", "modprobe sparc")
    else:
        says = f"not loaded, and not built for this kernel ({guest.release})"
        headers = "with the kernel's headers (apt install linux-headers-$(uname -r))"
        mend = f"{headers}: dkms autoinstall && modprobe sparc; from a checkout: make -C kmod && "
        yield bad(what, says, mend + "insmod kmod/sparc.ko")


def lockdown(guest: Guest) -> Iterator[Finding]:
    """Whether the kernel refuses modules, or what the module does."""
    what = "lockdown"
    told = guest.read("sys/kernel/security/lockdown")
    level = re.search(r"\[(\w+)\]", told or "")
    signed = guest.read("sys/module/module/parameters/sig_enforce") == "Y"
    free = not signed and (level is None or level[1] == "none")
    if level and level[1] == "confidentiality":
        mend = "boot without lockdown=confidentiality"
        yield bad(what, "confidentiality: the module's probes are not allowed", mend)
    elif guest.loaded:
        yield good(what, "no matter" if free else "the module was loaded in spite of it")
    elif not free:
        enrol = _ENROL.format(next(filter(guest.exists, _KEYS), _KEYS[0]))
        yield bad(what, f"{_UNSIGNED}: the module must be signed with a key of yours", enrol)
    elif level:
        yield good(what, level[1])
    else:
        mend = "" if guest.uid == 0 else "sudo sparc doctor"
        yield unknown(what, "the kernel does not tell (no securityfs)", mend)


def service(guest: Guest) -> Iterator[Finding]:
    """Whether it answers."""
    what, status = "service", guest.status
    if not isinstance(status, GuestError):
        yield good(what, f"process {status['pid']} answers")
    elif status.code == "denied":
        mend = f"sudo sparc doctor, or adduser USER {_GROUP} and log in again"
        yield unknown(what, f"only root and members of the group {_GROUP} may ask it", mend)
    elif status.code == "no-module":
        mend = f"load the module first, then {guest.service_command('start')}"
        yield bad(what, "not running", mend)
    elif status.code == "no-service":
        yield bad(what, "not running", guest.service_command("start"))
    else:
        mend = f"wait, if a checkpoint is being taken; else {guest.service_command('restart')}"
        yield bad(what, f"does not answer ({status.code})", mend)


def abi(guest: Guest) -> Iterator[Finding]:
    """Whether module and programs are of one release."""
    what, status = "module's ABI", guest.status
    if not guest.loaded:
        return
    found: int | None = None
    if not isinstance(status, GuestError):
        found = int(status["abi"])
    elif guest.uid == 0 and status.code in ("no-service", "no-module"):
        try:
            found = guest.open_device()
        except DeviceError as error:
            if error.code == "abi":
                found = int(error.detail.split(",")[0])
            else:
                yield unknown(what, f"/dev/sparc cannot be opened: {error.code} {error.detail}")
                return
    if found is None:
        yield unknown(what, "the service does not tell", "sudo sparc doctor")
    elif found != VERSION:
        mend = "install module and service from one release; then rmmod sparc && modprobe sparc && "
        says = f"{found}, but the service's is {VERSION}"
        yield bad(what, says, mend + guest.service_command("restart"))
    else:
        yield good(what, str(found))


def mailbox(guest: Guest) -> Iterator[Finding]:
    """Whether a host can find this guest, as far as a guest can know."""
    what = "mailbox"
    if not guest.loaded:
        mend = "load the module: see above"
        yield bad(what, "none, as the module is not loaded: no host finds this guest", mend)
        return
    product = guest.read("sys/class/dmi/id/product_name") or ""
    if product and product != "VirtualBox":
        yield note(what, f"there, but this machine is no VirtualBox VM ({product})")
    else:
        yield good(what, "there; on the host, sparc doctor says whether it is found")


def control_groups(guest: Guest) -> Iterator[Finding]:
    """Whether all others can be frozen."""
    from guest_service.cgroups import mount_point

    what = "cgroup v2"
    try:
        mounted = mount_point(str(guest.root / "proc/self/mountinfo"))
    except OSError:
        yield unknown(what, "/proc/self/mountinfo cannot be read")
        return
    if mounted is None:
        mend = "mount -t cgroup2 none /sys/fs/cgroup; with an old systemd, boot with "
        mend += "systemd.unified_cgroup_hierarchy=1"
        yield bad(what, "not mounted: nobody can be frozen for a checkpoint", mend)
        return
    folder = guest.root / mounted.lstrip("/")
    # The root has no freezer itself.
    groups = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if not groups:
        yield good(what, f"at {mounted}")
    elif not any((group / "cgroup.freeze").exists() for group in groups):
        yield bad(what, f"at {mounted}, without a freezer", "boot Linux 5.2 or newer")
    else:
        yield good(what, f"at {mounted}, with its freezer")


def freed_memory(guest: Guest) -> Iterator[Finding]:
    """Whether what the kernel frees is cleared."""
    what = "freed memory"
    words = (guest.read("proc/cmdline") or "").split()
    told = [word.partition("=")[2] for word in words if word.startswith("init_on_free=")]
    config = guest.read(f"boot/config-{guest.release}") or ""
    built_in = "CONFIG_INIT_ON_FREE_DEFAULT_ON=y" in config
    if told[-1:] in (["1"], ["y"], ["on"]) or (built_in and not told):
        yield good(what, "cleared by the kernel (init_on_free=1)")
        return
    scrub = guest.read("sys/module/sparc/parameters/scrub")
    if not guest.loaded:
        mend = "load the module, or boot with init_on_free=1"
        yield bad(what, "is not cleared", mend)
    elif scrub is None:
        yield unknown(what, "the module does not tell whether it clears it", "sudo sparc doctor")
    elif scrub == "0":
        mend = "echo 2 >/sys/module/sparc/parameters/scrub"
        yield bad(what, "is not cleared (scrub=0)", mend)
    elif guest.read("proc/sys/kernel/ftrace_enabled") == "0":
        mend = "sysctl kernel.ftrace_enabled=1"
        says = "is not all cleared: kernel.ftrace_enabled=0 ends the module's probes"
        yield bad(what, says, mend)
    elif scrub == "1":
        says = "is cleared from the first exclusion on (scrub=1)"
        yield note(what, says, "echo 2 >/sys/module/sparc/parameters/scrub")
    else:
        says = "cleared by the module since it was loaded; with init_on_free=1, since the boot"
        yield good(what, says)


def swap(guest: Guest) -> Iterator[Finding]:
    """Whether a checkpoint can take it off and overwrite it."""
    what = "swap"
    found = areas(str(guest.root / "proc/swaps"))
    if not found:
        yield good(what, "none is on")
        return
    for area in found:
        backing = guest.read(f"sys/block/{area.path.removeprefix('/dev/')}/backing_dev")
        if area.path.startswith("/dev/zram") and backing not in (None, "none"):
            says = f"{area.path} writes to {backing}, which cannot be overwritten: checkpoints fail"
            yield bad(what, says, f"swapoff {area.path}")
            return
    used = sum(area.used for area in found)
    free = re.search(r"^MemAvailable:\s+(\d+)", guest.read("proc/meminfo") or "", re.M)
    if free and used > int(free[1]):
        says = f"{size(used << 10)} are in it and {size(int(free[1]) << 10)} of memory are free"
        mend = "end programs or give the VM more memory, then swapoff -a && swapon -a"
        yield bad(what, f"{says}: checkpoints fail, as it cannot be brought back", mend)
        return
    yield note(what, _swap_words(found, guest))


def _swap_words(found: list[Area], guest: Guest) -> str:
    names = ", ".join(area.path for area in found)
    zswap = guest.read("sys/module/zswap/parameters/enabled") == "Y"
    first = ", compressed in memory first (zswap)" if zswap else ""
    return (
        f"{names}{first}: for each checkpoint it is taken off, overwritten if it was used, and put "
        "on again, which takes its time"
    )


def rules(guest: Guest) -> Iterator[Finding]:
    """Whether what files say can be followed."""
    what, status = "rules", guest.status
    if isinstance(status, GuestError) or status.get("rules") is None:
        return
    told = status["rules"]
    for problem in told["problems"]:
        key = f": {problem['key']}" if problem["key"] else ""
        mend = f"edit {problem['path']}, then {guest.service_command('reload')}"
        yield bad(what, f"{problem['path']}{key}: {problem['why']}", mend)
    if told["problems"]:
        return
    if told["told_by"] == "scan":
        says = f"{told['count']}; applied within two seconds of a start, as this kernel has no "
        yield note(what, says + "CONFIG_PROC_EVENTS, or the service may not use it")
    else:
        yield good(what, str(told["count"]))


def last_checkpoint(guest: Guest) -> Iterator[Finding]:
    """How the last one went, for the guest."""
    what, status = "last checkpoint", guest.status
    if isinstance(status, GuestError):
        return
    last = status["checkpoint"]
    if last is None:
        yield good(what, "none yet")
    elif last["outcome"] in ("resumed", "restored"):
        yield good(what, str(last["outcome"]))
    else:
        why = reason(str(last["reason"]))
        who = f" ({last['pid']} {last['name']})" if last["pid"] else ""
        mend = _AFTER.get(str(last["reason"]), "take another one: sparc checkpoint VM, on the host")
        yield bad(what, f"{last['outcome']}: {why}{who}", mend)


_AFTER = {
    "freeze": "see what that process waits for (ps -o stat,wchan PID), then take another one",
    "no-room": "modprobe sparc with a larger max_extents or max_processes",
    "no-memory": "give the VM more memory",
    "swap": "swapoff -a, or free memory, then take another one",
    "write-back": "see to that disk (dmesg), then take another one",
    "lost": "sparc doctor on the host, then take another one",
}


def group(guest: Guest) -> Iterator[Finding]:
    """Whether others than root may exclude what is theirs."""
    what = f"group {_GROUP}"
    listed = guest.read("etc/group") or ""
    if re.search(rf"^{_GROUP}:", listed, re.M):
        yield good(what, "there")
    else:
        mend = f"addgroup --system {_GROUP}, then {guest.service_command('restart')}"
        yield note(what, "not there: only root can exclude programs", mend)


_CHECKS: tuple[Callable[[Guest], Iterator[Finding]], ...] = (
    kernel,
    lockdown,
    module,
    control_groups,
    service,
    abi,
    mailbox,
    freed_memory,
    swap,
    group,
    rules,
    last_checkpoint,
)
