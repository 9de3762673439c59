"""The VirtualBox that is installed in a sandbox, and what its machines are made of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .machine import Settings
from .sandbox import Sandbox

__all__ = ["HARDWARE", "INSTALLED", "TREE", "Installation", "internals"]

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


def internals(settings: Settings) -> dict[str, str]:
    """VirtualBox's own tuning of a machine of this size, as extra data."""
    tuning = {"HM/FallbackToIEM": "1"}
    if settings.cpus > 1:
        # Interpreters that wait for each other do little between two timer ticks; with the guest's
        # clock slowed down, ticks and time-outs come at the pace of its instructions.
        tuning["TM/WarpDrivePercentage"] = "25"
    return tuning


class Installation:
    """VirtualBox in the given sandbox, with settings of its own there."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def variables(self) -> dict[str, str]:
        """What VirtualBox's programs and its SDK need in their environment."""
        return {
            "HOME": str(self._sandbox.files),
            "VBOX_USER_HOME": str(self._sandbox.files / "config"),
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
