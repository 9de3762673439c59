"""A real guest with one of Debian's own kernels, in which packages are installed by apt."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from sparc_lab import QemuMachine

from sparc.abi import Request, State
from tests.guest.manifest import Manifest
from tests.guest.qemu_host import QemuHost
from tests.guest.served import Scripts
from tests.packages.tree import LISTING, noted

__all__ = ["Packaged"]

# With the module built for the kernel, where each instruction is emulated and others run beside it.
_INSTALL_SECONDS = 3000
_RULE = """
mkdir -p /etc/sparc/exclude.d
printf '[[exclude]]\\nexecutable = "/usr/bin/tail"\\n' >/etc/sparc/exclude.d/tail.toml
echo SPARC_FREEZE_SECONDS=120 >/etc/default/sparc-guestd
systemctl restart sparc-guestd
"""
# The packages themselves; what systemd writes, but for its helper's notes of units.
_LIVE = re.compile(r"/root/|/var/lib/systemd/(?!deb-)")
# Bytes that stand nowhere else, and in no argument as they are.
_HOLDER = "data = bytes(n * {} + 11 & 255 for n in range(64)) * 64; import time; time.sleep(99999)"
_COPIES = 64


class Packaged(Scripts):
    """The guest. `release`: what its kernel calls itself."""

    def __init__(self, machine: QemuMachine, debs: Path) -> None:
        super().__init__(machine)
        self.release = self.ok("uname -r")
        archive = machine.folder / "debs.tar"
        with tarfile.open(archive, "w") as file:
            file.add(debs, "debs")
        machine.put(archive, "/root/debs.tar")
        self.ok("cd /root && tar xf debs.tar && rm debs.tar")
        self._image = machine.folder / "ram"

    def apt(self, what: str) -> str:
        """What apt says that is given this command, which has to succeed."""
        return self.long(f"cd /root/debs && DEBIAN_FRONTEND=noninteractive apt-get {what}")

    def long(self, script: str) -> str:
        """Run a script that compiles, and has to succeed; all it printed."""
        done = self.machine.shell(f"({script}) 2>&1", _INSTALL_SECONDS)
        assert done.status == 0, done.text
        return done.text

    def install(self, version: str, *names: str) -> str:
        """Install some of our packages, of the folder `version`; what apt said."""
        return self.apt("install -y " + " ".join(f"./{version}/{name}_*.deb" for name in names))

    def contents(self) -> set[str]:
        """What is on its disk, but for what a running system writes all the time."""
        return {line for line in noted(self.ok(LISTING)) if not _LIVE.match(line)}

    def loaded(self) -> str:
        """The version of the module that runs."""
        return self.ok("cat /sys/module/sparc/version")

    def findings(self, options: str = "") -> dict[str, dict[str, Any]]:
        """What `sparc doctor` says that is neither good nor a mere note, by what it is of."""
        told = self.json(f"sparc doctor --json {options}")
        wrong = [one for one in told["findings"] if one["state"] in ("bad", "unknown")]
        assert told["status"] == (1 if wrong else 0)
        return {one["what"]: one for one in wrong}

    def advice(self, what: str) -> str:
        """What it says is to be done about something."""
        told = self.json("sparc doctor --guest --json")["findings"]
        (mend,) = (one["mend"] for one in told if one["what"] == what)
        return str(mend)

    def excluded(self) -> set[int]:
        """The pids of the excluded processes."""
        return {row["pid"] for row in self.json("sparc list --json")["processes"]}

    def is_healthy(self) -> None:
        """The module is DKMS's for this kernel, the service runs, and all is as it must be."""
        assert f"{self.release}, x86_64: installed" in self.ok("dkms status -m sparc")
        assert "/updates/dkms/" in self.ok("modinfo -n sparc")
        assert self.loaded() == self.ok("modinfo -F version sparc")
        # It may be udev who starts it, in a moment.
        self.ok("until_true 'systemctl is-active --quiet sparc-guestd'")
        assert self.ok("systemctl is-enabled sparc-guestd") == "enabled"
        assert self.ok("stat -c %a:%U:%G /dev/sparc") == "600:root:root"
        assert self.findings() == {}

    def set_up(self) -> None:
        """A rule and a setting, as an administrator makes them."""
        self.ok(_RULE)

    def holder(self, factor: int) -> int:
        """A program that has bytes in its memory which `factor`, odd, decides; its pid."""
        pid = self.start(f"python3 -c '{_HOLDER.format(factor)}'")
        self.ok(f"until_true 'grep -q sleep /proc/{pid}/wchan'")
        return pid

    def keeps_out(self, factor: int, other: int) -> None:
        """Park it: all that the one holder has is in the manifest, and nothing of the other's."""
        host = QemuHost(self.machine)
        try:
            host.ask(Request.PREPARE)
            status = host.await_state(State.PARKED, State.FAILED)
            assert status.state == State.PARKED, status
            self.machine.ram(self._image)
            host.ask(Request.RESUMED)
            host.await_state(State.IDLE)
        finally:
            host.close()
        ram = np.fromfile(self._image, np.uint8)
        self._image.unlink()
        manifest = Manifest.of(ram)
        for number, out in ((factor, True), (other, False)):
            places = _places(ram, number)
            assert len(places) >= _COPIES
            covered = manifest.covers(places)
            assert covered.all() if out else not covered.any(), (number, places[covered != out])

    def restore(self) -> None:
        """Make it believe that it was restored from a checkpoint."""
        host = QemuHost(self.machine)
        try:
            host.ask(Request.PREPARE)
            host.await_state(State.PARKED)
            host.zero_canary()
            host.await_state(State.IDLE)
        finally:
            host.close()

    def boot(self) -> None:
        """Cut its power, and start it again."""
        self.ok("sync")
        self.machine.power_off()
        self.machine.start(600)

    def lives(self, pid: int) -> bool:
        """Whether there is such a process."""
        return self.sh(f"kill -0 {pid}").status == 0


def _places(ram: np.ndarray[Any, np.dtype[np.uint8]], factor: int) -> np.ndarray[Any, Any]:
    """Where a holder's 64 bytes stand, by guest-physical address."""
    data = bytes(n * factor + 11 & 255 for n in range(64))
    memory, found, at = ram.tobytes(), [], -1
    while (at := memory.find(data, at + 1)) >= 0:
        found.append(at)
    return np.array(found, np.int64)
