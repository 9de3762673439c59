"""Makes the saved states beside this file with a real VirtualBox: ``python make_fixtures.py``.

A machine of 16 MB without a disk stops in its BIOS, so its saved states are small and still have
everything a saved state has. ``plain.sav`` is saved in the same pause as VirtualBox's own core of
the memory, which ``plain.ram.json`` sums up: what the reader has to find there.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from sparc_lab import Lab, Settings, VirtualBoxMachine
from sparc_lab.build import Parts
from sparc_lab.errors import StartError
from sparc_lab.processes import wait_for

from sparc.sav.core import page_digests
from sparc.sav.state import SavedState

_HERE = Path(__file__).parent


class _Bare(VirtualBoxMachine):
    """A machine with nothing to boot from."""

    def create(
        self, parts: Parts, *, stored: Path | None = None, hardware: Sequence[str] = ()
    ) -> None:
        self.register("--vram", "1", "--usb-ohci", "off", "--graphicscontroller", "vboxvga")

    def start(self, timeout: float, *, paused: bool = False) -> None:
        self.launch()
        if not wait_for(lambda: self.state() == "running", timeout=timeout, step=0.3):
            raise StartError(f"{self.name} did not start", self.evidence())
        time.sleep(10)


def main() -> None:
    """Make all of them anew."""
    with Lab(owned=True) as lab:
        lab.start()
        machine = _Bare(Settings("tiny", "virtualbox", memory=16), lab.sandbox)
        machine.prepare_folder("starting")
        machine.create(lab.parts)
        machine.start(60)
        machine.pause()
        core = machine.folder / "core"
        machine.core(core)
        shutil.copy(machine.checkpoint("plain"), _HERE / "plain.sav")
        machine.resume()
        shutil.copy(machine.checkpoint("live", "live"), _HERE / "live.sav")
        shutil.copy(machine.save(), _HERE / "savestate.sav")
        with SavedState(_HERE / "plain.sav") as state:
            digests = page_digests(state, core)
    (_HERE / "plain.ram.json").write_text(json.dumps(digests, indent=0) + "\n")
    for path in _HERE.glob("*.sav"):
        path.chmod(0o644)


if __name__ == "__main__":
    main()
