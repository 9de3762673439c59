"""Puts sparc into a lab: the pack into its VirtualBox, module and service into a guest."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from sparc_lab import Lab
from sparc_lab.errors import LabError
from sparc_lab.machine import Machine
from sparc_lab.vboxmanage import Installation

from host_service import extension_pack
from tools import guest_bundle

__all__ = ["PROJECT", "compile_for_guests", "install_guest", "install_pack", "uninstall_pack"]

PROJECT = Path(__file__).parents[1]
# Where each instruction is interpreted, freezing everybody takes seconds.
_FREEZE_SECONDS = 60
_INSTALL = f"""
    set -e
    tar -C / -xf /root/guest.tar
    insmod /root/sparc.ko
    echo SPARC_FREEZE_SECONDS={_FREEZE_SECONDS} > /etc/default/sparc-guestd
    /etc/init.d/sparc-guestd start
    rm /root/guest.tar
"""


def install_pack(lab: Lab, pack: Path | None = None) -> None:
    """Install the extension pack, or that one; machines that start from now on have it."""
    lab.start()
    copy = shutil.copy(pack or extension_pack.build(), lab.sandbox.files)
    Installation(lab.sandbox).manage("extpack", "install", "--replace", str(copy))


def uninstall_pack(lab: Lab) -> None:
    """Take it out. No machine may be running."""
    Installation(lab.sandbox).manage("extpack", "uninstall", extension_pack.NAME)


def install_guest(lab: Lab, machine: Machine) -> None:
    """Install module, service and command line into a guest without systemd, and start them."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "guest.tar")
        guest_bundle.write(bundle)
        machine.put(bundle, "/root/guest.tar")
    module = lab.build_module(PROJECT / "kmod", machine.settings.kernel)
    machine.put(module, "/root/sparc.ko")
    done = machine.shell(_INSTALL, 600)
    if done.status:
        raise LabError(f"sparc could not be installed in the guest: {done.stderr.decode()}")


def compile_for_guests(lab: Lab, source: Path, *more: Path, root: Path | None = None) -> Path:
    """Compile a C program for any guest; its path, named as source.

    Headers are those below ``root``, which the sources are in too; by default source's folder.
    """
    root = root or source.parent
    lab.start()
    folder = lab.sandbox.files / "programs"
    copy = folder / f"{source.stem}.source"
    folder.mkdir(exist_ok=True)
    shutil.copytree(root, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    program = folder / source.stem
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"]
    sources = [str(copy / file.relative_to(root)) for file in (source, *more)]
    lab.sandbox.run("tools", ["gcc", *options, "-o", str(program), *sources])
    return program
