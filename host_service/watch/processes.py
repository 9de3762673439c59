"""The processes of VMs, whoever's they are, and in whatever tree of files they run.

All of it is what other users' processes show: files of theirs are read as such, and no more.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["VmProcess", "find", "is_alive", "open_plain"]

_VMM, _RUNTIME = "VBoxVMM.so", "VBoxRT.so"
# Others have the libraries, too, and run no VM.
_COMM = ("VirtualBoxVM", "VBoxHeadless", "VBoxSDL")
_MAPPED = re.compile(r"^([0-9a-f]+-[0-9a-f]+) r\S* \S+ \S+ \d+ +(/.*)$", re.M)
_MOST_SETTINGS = 16 << 20


@dataclass
class VmProcess:
    """A process that runs a VM.

    Attributes:
        started: in clock ticks since the host's boot; with `pid` it is never another's.
        vmm, runtime: VirtualBox's libraries as it has them mapped.
        root: a descriptor of its root folder, which stays when it ends; close() it.
        name, uuid: the VM's; "" where not known, as long as it starts.
        folder: where its saved states are, as it names that; "" where not known.
    """

    pid: int
    started: int
    vmm: Path
    runtime: Path
    root: int
    name: str = ""
    uuid: str = ""
    folder: str = ""

    def identify(self) -> None:
        """Find out which VM it is, as far as that is not known."""
        if not self.uuid:
            name, self.uuid, self.folder = _settings(self.pid, self.root)
            self.name = name or self.name or _asked(self.pid)

    @property
    def label(self) -> str:
        """What to call it."""
        return self.name or f"process {self.pid}"

    def path(self, path: str) -> Path:
        """Where here is what it calls so."""
        return Path(f"/proc/self/fd/{self.root}{path}")

    def is_called(self, vm: str) -> bool:
        """Whether it is the VM of that name or UUID."""
        return vm in (self.name, self.uuid)

    def saving(self) -> set[str]:
        """The saved states that it has open."""
        return {path for path in _open_files(self.pid) if path.endswith(".sav")}

    def close(self) -> None:
        """Let go of it."""
        os.close(self.root)


def find(known: set[tuple[int, int]]) -> Iterator[VmProcess]:
    """The processes that run VMs, but for those that are (pid, started) known."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            found = _look(int(folder.name), known)
        # It has ended.
        except (OSError, ValueError):
            continue
        if found is not None:
            yield found


def is_alive(vm: VmProcess) -> bool:
    """Whether it runs."""
    try:
        return _started(vm.pid) == vm.started
    except (OSError, ValueError):
        return False


def _started(pid: int) -> int:
    """Raises OSError where there is no such process, ValueError where it is only to be reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if fields[0] in "ZX":
        raise ValueError
    return int(fields[19])


def _look(pid: int, known: set[tuple[int, int]]) -> VmProcess | None:
    if Path(f"/proc/{pid}/comm").read_text().strip() not in _COMM:
        return None
    started = _started(pid)
    if (pid, started) in known:
        return None
    mapped: dict[str, Path] = {}
    for where, path in _MAPPED.findall(Path(f"/proc/{pid}/maps").read_text()):
        # By what it has mapped, since another file may stand there by now.
        library = path.removesuffix(" (deleted)").rpartition("/")[2]
        mapped.setdefault(library, Path(f"/proc/{pid}/map_files/{where}"))
    if _VMM not in mapped or _RUNTIME not in mapped:
        return None
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    found = VmProcess(pid, started, mapped[_VMM], mapped[_RUNTIME], root)
    found.identify()
    return found


def _open_files(pid: int) -> Iterator[str]:
    """By the paths that it knows them by."""
    try:
        # To us, both stand below the root of its mounts, and it may be in a tree below that.
        root = str(Path(f"/proc/{pid}/root").readlink())
        numbers = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for number in numbers:
        try:
            path = str(number.readlink())
        except OSError:
            continue
        yield path.removeprefix(root) if path.startswith(f"{root}/") else path


def _settings(pid: int, root: int) -> tuple[str, str, str]:
    """Name, UUID and the folder of saved states, as the VM's settings have them."""
    for log in _open_files(pid):
        home, found, _ = log.rpartition("/Logs/VBox.log")
        if not found:
            continue
        folder = Path(f"/proc/self/fd/{root}{home}")
        for path in sorted(folder.glob("*.vbox")):
            machine = _machine(path)
            if machine is not None:
                states = str(Path(home) / (machine.get("snapshotFolder") or "Snapshots"))
                uuid = machine.get("uuid", "").strip("{}")
                return machine.get("name", ""), uuid, states
        return "", "", f"{home}/Snapshots"
    return "", "", ""


def _machine(path: Path) -> dict[str, str] | None:
    """The attributes of the VM in a file of settings; None: it is encrypted, or none."""
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            if os.fstat(file.fileno()).st_size > _MOST_SETTINGS:
                return None
            for _, element in ElementTree.iterparse(file, ["start"]):
                if element.tag.endswith("}Machine"):
                    return dict(element.attrib)
    except (OSError, ElementTree.ParseError):
        pass
    return None


def _asked(pid: int) -> str:
    """The VM's name by its command line, where VirtualBox puts it."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    for option in ("--comment", "--startvm", "-startvm", "-s"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


def open_plain(path: Path) -> int:
    """Open another user's file for reading. Raises OSError, also where it is not a plain one."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError
    return fd
