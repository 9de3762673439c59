"""The VirtualBox that is installed in a sandbox, and what its machines are made of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .machine import Settings
from .sandbox import Sandbox

__all__ = ["HARDWARE", "INSTALLED", "PORTABLE", "TREE", "Installation", "internals"]

INSTALLED = "/usr/lib/virtualbox"
TREE = "virtualbox"

# Part of what a ready-booted machine is made from: change it and that is made anew.
HARDWARE = (
    *("--ioapic", "on", "--rtcuseutc", "on", "--usb-ohci", "off", "--mouse", "ps2"),
    *("--vram", "9", "--graphicscontroller", "vboxvga", "--audio-enabled", "off"),
    *("--boot1", "dvd", "--boot2", "none", "--boot3", "none", "--boot4", "none"),
    *("--bioslogofadein", "off", "--bioslogofadeout", "off", "--bioslogodisplaytime", "0"),
    *("--nic1", "nat", "--nictype1", "82540EM", "--macaddress1", "080027000001"),
)

PORTABLE = (
    *("--cpuid-portability-level", "1"),
    *("--cpuid-set", "1", "00800f12", "00010800", "80200001", "178bfbfd"),
    *("--cpuid-set", "80000001", "00800f12", "00000000", "00000001", "2193fb7d"),
)
"""A guest with these goes on from a saved state with hardware virtualisation and without.

It has an EPYC without AVX, which VirtualBox does not interpret, and without VME, which QEMU does
not emulate.
"""


def internals(settings: Settings) -> dict[str, str]:
    """VirtualBox's own tuning of such a machine, as extra data."""
    if settings.hypervisor == "hm":
        return {}
    tuning = {"HM/FallbackToIEM": "1"}
    if settings.cpus > 1:
        # Interpreters that wait for each other do little between two timer ticks; with the guest's
        # clock slowed down, ticks and time-outs come at the pace of its instructions.
        tuning["TM/WarpDrivePercentage"] = "25"
    return tuning


class Installation:
    """VirtualBox in the given sandbox, with settings of its own in the folder ``config`` there."""

    def __init__(self, sandbox: Sandbox, config: Path | None = None) -> None:
        self._sandbox = sandbox
        self._config = config or sandbox.files / "config"

    @property
    def variables(self) -> dict[str, str]:
        """What VirtualBox's programs and its SDK need in their environment."""
        return {
            "HOME": str(self._sandbox.files),
            "VBOX_USER_HOME": str(self._config),
            "XDG_RUNTIME_DIR": "/tmp",
            "VBOX_PROGRAM_PATH": INSTALLED,
            "VBOX_SDK_PATH": f"{INSTALLED}/sdk",
            "PYTHONPATH": f"{INSTALLED}/sdk/bindings/xpcom/python",
        }

    def manage(self, *arguments: str) -> str:
        """Run VBoxManage; its output."""
        argv = [f"{INSTALLED}/VBoxManage", "-q", *arguments]
        return self._sandbox.run(TREE, argv, env=self.variables, timeout=300)

    def api(self, machine: str, action: str, text: str) -> None:
        """Do something to a machine through the SDK: ``press`` scan codes, take a ``snapshot``.

        ``text`` says which; it goes through a file, since everybody sees arguments.
        """
        with tempfile.TemporaryDirectory(dir=self._sandbox.files) as folder:
            script = Path(shutil.copy(Path(__file__).parent / "host" / "vbox_api.py", folder))
            order = Path(folder, "order")
            order.write_text(text)
            argv = ["python3", str(script), action, machine, str(order)]
            self._sandbox.run(TREE, argv, env=self.variables, timeout=300)
