"""Takes a real checkpoint of a 1 GB machine that holds 700 MB nobody can compress.

``python -m tools.bench.big_checkpoint OUT.sav``: the file that ``audit`` is measured with.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from sparc_lab import Lab, Settings, VirtualBoxMachine

__all__ = ["take"]

_FILL = Path(__file__).parents[2] / "tests/e2e/victims/fill.py"
_MEGABYTES = 700


def take(target: Path) -> None:
    """Take it and move it to ``target``."""
    with Lab(owned=True) as lab:
        machine = lab.up(Settings("big", "virtualbox", memory=1024))
        assert isinstance(machine, VirtualBoxMachine)
        machine.put(_FILL, "/root/fill.py")
        exchange = machine.folder / "exchange.raw"
        size = exchange.stat().st_size
        with exchange.open("r+b") as file:
            for _ in range(size >> 20):
                file.write(os.urandom(1 << 20))
        machine.shell(f"setsid python3 /root/fill.py {_MEGABYTES} >/root/fill.log 2>&1 &")
        waited = machine.shell("until [ -e /run/filled ]; do sleep 2; done", 1800)
        assert waited.status == 0, machine.shell("cat /root/fill.log").text
        shutil.move(machine.checkpoint("big"), target)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
