"""Puts the extension pack into VirtualBox and takes it out, through VBoxManage alone."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from host_service.errors import HostError
from host_service.programs import run
from sparc.programs import last_line

__all__ = [
    "NAME",
    "Pack",
    "build",
    "install",
    "installed",
    "running_vms",
    "uninstall",
    "virtualbox_version",
]

NAME = "Sparc"
_FOLDER = Path(__file__).parent / "extpack"
_FILE = _FOLDER / f"{NAME}.vbox-extpack"
_PLACES = (Path("/usr/lib/virtualbox"), Path("/opt/VirtualBox"))


@dataclass(frozen=True)
class Pack:
    """A pack that VirtualBox has; `unusable` says why, or is ""."""

    version: str
    unusable: str


def build() -> Path:
    """The pack's file: made now where its sources are (a checkout), else the one that came along.

    Raises:
        HostError: it cannot be made, or there is none.
    """
    if (_FOLDER / "Makefile").exists():
        if shutil.which("make") is None:
            cause = "the extension pack cannot be built: there is no make"
            raise HostError(cause, advice="apt install make gcc")
        done = run(["make", "-C", str(_FOLDER)])
        if done.returncode:
            raise HostError(
                f"the extension pack cannot be built: {last_line(done.stderr)}",
                advice=f"make -C {_FOLDER} says more",
            )
    if not _FILE.exists():
        raise HostError(
            "this installation of sparc came without the extension pack",
            advice="install it from a checkout, after make -C host_service/extpack",
        )
    return _FILE


def installed() -> Pack | None:
    """The pack that VirtualBox has under our name.

    Raises:
        HostError: there is no VBoxManage, or it fails.
    """
    for entry in re.split(r"^Pack no\.", _manage("list", "extpacks"), flags=re.M)[1:]:
        said = dict(re.findall(r"^([\w .]+):[ \t]*(.*)$", f"Pack no.{entry}", re.M))
        if next(iter(said.values()), "") == NAME:
            usable = said.get("Usable") == "true"
            unusable = "" if usable else said.get("Why unusable") or "VirtualBox does not say why"
            return Pack(said.get("Version", ""), unusable)
    return None


def virtualbox_version() -> str:
    """As VBoxManage tells it: 7.2.4r170995.

    Raises:
        HostError: there is no VBoxManage, or it fails, or VirtualBox cannot run a VM.
    """
    # Warnings come first.
    *warnings, version = _manage("--version").strip().splitlines() or [""]
    for line in warnings:
        if "vboxdrv" in line:
            cause = "VirtualBox's kernel module is not loaded"
            raise HostError(cause, advice="/sbin/vboxconfig, or modprobe vboxdrv")
    return version


def running_vms() -> list[str]:
    """The names of this user's VMs that run now."""
    return re.findall(r'^"(.*)" \{[-0-9a-f]{36}\}$', _manage("list", "runningvms"), re.M)


def install() -> tuple[Pack, bool]:
    """Put the pack in, in place of another version; and whether there was anything to do.

    Raises:
        HostError: it is not in VirtualBox now, or not usable.
    """
    file = build()
    before = installed()
    if before is not None and not before.unusable and _same(file):
        return before, False
    if before is not None and (running := running_vms()):
        raise HostError(
            "another build of the extension pack is in use, so VirtualBox does not replace it",
            advice=f"power off first: {', '.join(running)}",
        )
    _change("install", "--replace", str(file))
    after = installed()
    if after is None or after.unusable:
        why = after.unusable if after else "it is not in the list"
        raise HostError(
            f"VirtualBox took the extension pack but cannot use it: {why}",
            advice="VBoxSVC.log in VirtualBox's settings folder says more",
        )
    return after, True


def uninstall(*, force: bool = False) -> bool:
    """Take the pack out; whether it was there. VMs that run keep it until they end, if `force`.

    Raises:
        HostError: it is still there.
    """
    if installed() is None:
        return False
    if not force and (running := running_vms()):
        raise HostError(
            "VMs are running, so VirtualBox does not take the extension pack out",
            advice=f"power off first: {', '.join(running)}; with --force they keep it to their end",
        )
    _change("uninstall", *["--force"] * force, NAME)
    if installed() is not None:
        raise HostError("VirtualBox still lists the extension pack")
    return True


def _vboxmanage() -> Path:
    named = os.environ.get("VBOX_PROGRAM_PATH")
    found = shutil.which("VBoxManage")
    for folder in [Path(named)] if named else _PLACES:
        if (folder / "VBoxManage").exists():
            return folder / "VBoxManage"
    if found is None:
        raise HostError("there is no VBoxManage", advice="install VirtualBox")
    return Path(found)


def _same(file: Path) -> bool:
    """Whether what is installed is what this file holds: both list their parts' checksums."""
    name = "ExtPack.manifest"
    try:
        there = (_vboxmanage().resolve().parent / "ExtensionPacks" / NAME / name).read_bytes()
        with tarfile.open(file) as pack:
            part = pack.extractfile(name) or pack.extractfile(f"./{name}")
            return part is not None and part.read() == there
    except (OSError, KeyError, tarfile.TarError):
        return False


def _manage(*arguments: str) -> str:
    done = run([str(_vboxmanage()), "-q", *arguments])
    if done.returncode:
        raise HostError(f"VBoxManage {arguments[0]} failed: {last_line(done.stderr)}")
    return done.stdout


def _change(*arguments: str) -> None:
    done = run([str(_vboxmanage()), "-q", "extpack", *arguments])
    if done.returncode:
        said = re.search(r"^VBoxManage: error: (.*)$", done.stderr, re.M)
        advice = "" if os.geteuid() == 0 else "do it as root (sudo), or where pkexec can ask you"
        cause = said[1] if said else last_line(done.stderr)
        raise HostError(f"the extension pack: {arguments[0]} failed: {cause}", advice=advice)
