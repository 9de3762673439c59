"""The probes in the host's kernel: what bcc makes of probes.bpf.c, put into VMs' processes."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from host_service.errors import HostError
from host_service.watch.processes import VmProcess
from host_service.watch.steps import Event, Numbers, Step
from sparc.sav import c_pgm

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Probes"]

# bcc puts at most 1000 probes.
_MOST_VMS = 64
# Of 8 MB of guest memory each; the kernel takes memory for those alone that are needed.
_MOST_BLOCKS = 65536
_BLOCK_WORDS = 32
# (library, function, at its start, at its end). The last one is what begins a save: the first
# that is seen from its beginning is counted from its beginning.
_PROBES = (
    ("runtime", "RTCrc32", "checksum", ""),
    ("vmm", "SSMR3PutU8", "put_u8", ""),
    ("vmm", "SSMR3PutU64", "put_u64", ""),
    ("vmm", "SSMR3PutGCPhys", "put_gcphys", ""),
    ("vmm", "VMR3Suspend", "suspend", "suspended"),
    ("vmm", "VMR3Resume", "resume", "resumed"),
    ("vmm", "VMR3Teleport", "teleport", "saved"),
    ("vmm", "VMR3Save", "save", "saved"),
)
_WITNESS = ("vmm", "SSMR3PutMem", "put_mem", "")
# What the host's own PID namespace is called: its numbers are those that the kernel tells.
_FIRST_NAMESPACE = "pid:[4026531836]"


class _Numbers(ctypes.Structure):
    """As `struct numbers` in probes.bpf.c."""

    _fields_ = (
        ("pages", ctypes.c_uint64 * len(c_pgm.KIND_NAMES)),
        ("contents", ctypes.c_uint64),
        ("noted", ctypes.c_uint64),
        ("odd", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
    )


class _Event(ctypes.Structure):
    """As `struct event` there."""

    _fields_ = (
        ("time", ctypes.c_uint64),
        ("value", ctypes.c_uint64),
        ("numbers", _Numbers),
        ("pid", ctypes.c_uint32),
        ("save", ctypes.c_uint32),
        ("step", ctypes.c_uint32),
        ("pass_", ctypes.c_uint32),
        ("instance", ctypes.c_uint32),
        ("crc", ctypes.c_uint32),
        ("name", ctypes.c_char * 32),
    )


class Probes:
    """Probes that call `tell` with each Event while `poll` runs.

    A `witness` notes each page of RAM that is written with content. Raises HostError where the
    host lets nobody look, or lacks what it takes.
    """

    def __init__(self, tell: Callable[[Event], None], *, witness: bool) -> None:
        self._witness = witness
        self._bpf = _load(witness)
        self._of: dict[int, list[str]] = {}

        def told(_context: object, data: int, _size: int) -> int:
            tell(_event(_Event.from_address(data)))
            return 0

        self._bpf["events"].open_ring_buffer(told)

    def attach(self, vm: VmProcess) -> None:
        """Watch a process. Raises HostError where its VirtualBox is not known."""
        if len(self._of) >= _MOST_VMS:
            raise HostError(f"more than {_MOST_VMS} VMs are not watched at a time", vm.label)
        vms = self._bpf["vms"]
        vms[vms.Key(vm.pid)] = vms.Leaf()
        self._of[vm.pid] = []
        try:
            for probe in (_WITNESS, *_PROBES) if self._witness else _PROBES:
                self._put(vm, *probe)
        except HostError:
            self.detach(vm.pid)
            raise

    def _put(self, vm: VmProcess, library: str, function: str, start: str, end: str) -> None:
        where = {"name": str(getattr(vm, library)), "sym": function, "pid": vm.pid}
        before = set(self._bpf.uprobe_fds)
        try:
            self._bpf.attach_uprobe(**where, fn_name=start)
            if end:
                self._bpf.attach_uretprobe(**where, fn_name=end)
        # bcc has no type of its own for what goes wrong.
        except Exception:
            raise HostError(
                f"its process cannot be watched: no probe could be put at {function}",
                vm.label,
                "if the VM has not just ended, sparc doctor says whether its VirtualBox is known",
            ) from None
        finally:
            self._of[vm.pid] += set(self._bpf.uprobe_fds) - before

    def detach(self, pid: int) -> None:
        """Watch it no more."""
        for name in self._of.pop(pid):
            # bcc's own way asks tracefs, which need not be mounted, and fails where it is not.
            os.close(self._bpf.uprobe_fds[name])
            self._bpf._del_uprobe_fd(name)
        vms = self._bpf["vms"]
        del vms[vms.Key(pid)]
        for key in list(self._bpf["written"].keys()) if self._witness else ():
            if key.pid == pid:
                del self._bpf["written"][key]

    def poll(self, seconds: float) -> None:
        """Wait so long for events, and hand them on."""
        self._bpf.ring_buffer_poll(timeout=int(seconds * 1000))

    def numbers(self, pid: int) -> tuple[Numbers, int]:
        """What was counted so far in its last save, and how much RAM it has, in bytes."""
        vm = self._vm(pid)
        return _numbers(vm.numbers), int(vm.ram)

    def is_saving(self, pid: int) -> bool:
        """Whether its last save goes on."""
        return bool(self._vm(pid).saving)

    def strays(self, pid: int) -> int:
        """How much was put so far in a save that had begun before it was watched."""
        return int(self._vm(pid).strays)

    def _vm(self, pid: int) -> Any:
        vms = self._bpf["vms"]
        return vms[vms.Key(pid)]

    def take_written(self, pid: int, save: int) -> npt.NDArray[np.uint64]:
        """The page frames of RAM that were written with content, ascending; they are forgotten."""
        written = self._bpf["written"]
        blocks = [key for key in written.keys() if (key.pid, key.save) == (pid, save)]  # noqa: SIM118
        frames = [np.empty(0, np.uint64)]
        for key in sorted(blocks, key=lambda key: int(key.block)):
            words = np.array(list(written[key].pages), "<u8")
            bits = np.unpackbits(words.view(np.uint8), bitorder="little")
            first = np.uint64(key.block * _BLOCK_WORDS * 64)
            frames.append(np.flatnonzero(bits).astype(np.uint64) + first)
            del written[key]
        return np.concatenate(frames)

    def close(self) -> None:
        """Take all probes out."""
        for pid in list(self._of):
            self.detach(pid)
        self._bpf.cleanup()


def _load(witness: bool) -> Any:
    if os.geteuid() != 0:
        raise HostError("only root may look into other processes", advice="use sudo")
    if str(Path("/proc/self/ns/pid").readlink()) != _FIRST_NAMESPACE:
        raise HostError(
            "this is a container, which knows processes by other numbers than the kernel does",
            advice="watch from the host itself",
        )
    release = platform.release()
    try:
        import bcc
    except ImportError:
        raise HostError(
            "bcc, which puts probes into the kernel, is not installed",
            advice=f"apt install python3-bpfcc linux-headers-{release}",
        ) from None
    if not _headers(release):
        raise HostError(
            "the headers of this kernel are not installed",
            advice=f"apt install linux-headers-{release}, or name others with BCC_KERNEL_SOURCE",
        )
    flags = [f"-DMOST_VMS={_MOST_VMS}", f"-DMOST_BLOCKS={_MOST_BLOCKS}"]
    source = Path(__file__).with_name("probes.bpf.c").read_text()
    try:
        bpf = bcc.BPF(text=source, cflags=[*flags, "-DWITNESS"] if witness else flags)
        for _, _, start, end in (*_PROBES, *((_WITNESS,) if witness else ())):
            for function in filter(None, (start, end)):
                bpf.load_func(function, bcc.BPF.KPROBE)
    # bcc has no type of its own for what goes wrong, and prints what the compiler said.
    except Exception as error:
        raise HostError(
            f"the kernel takes no probes: {error}",
            advice="it takes Linux 5.8 or newer with BPF, uprobes and headers that fit",
        ) from None
    return bpf


def _headers(release: str) -> bool:
    """Whether there are some that bcc would find."""
    folder = os.environ.get("BCC_KERNEL_SOURCE") or f"/lib/modules/{release}/build"
    return Path(folder).is_dir() or Path("/sys/kernel/kheaders.tar.xz").exists()


def _numbers(raw: Any) -> Numbers:
    return Numbers(tuple(raw.pages), raw.contents, raw.noted, raw.odd, raw.lost)


def _event(raw: Any) -> Event:
    return Event(
        step=Step(raw.step),
        pid=raw.pid,
        save=raw.save,
        time=raw.time,
        value=raw.value,
        numbers=_numbers(raw.numbers),
        name=raw.name.decode("utf-8", "backslashreplace"),
        instance=raw.instance,
        pass_=raw.pass_,
        crc=raw.crc,
    )
