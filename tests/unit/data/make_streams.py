"""Makes the samples of QEMU's streams here, with a QEMU that holds no guest: *.stream.gz.

    sudo .venv/bin/python -m tests.unit.data.make_streams

plain-old is bookworm's, plain-new and mapped-new the newest one's. In each the page at 8 KB is all
"A", the one at 12 KB begins with TEXT, and RAM's last page ends with it.
"""

from __future__ import annotations

import gzip
import os
import time
from pathlib import Path

from sparc_lab import Lab
from sparc_lab.sandbox import Sandbox

from host_service.qemu import processes
from host_service.qemu.memory import GuestMemory, backings, parts_of
from host_service.qemu.monitor import Monitor

TEXT = b"a text that stands in the memory of nobody"
RAM = 16 << 20
_HERE = Path(__file__).parent
_PAGE = 4096
_MACHINE = [
    *("qemu-system-x86_64", "-name", "sample", "-S", "-nodefaults", "-display", "none"),
    *("-vga", "none", "-accel", "tcg", "-nic", "none", "-m", "16", "-machine", "pc"),
    *("-object", "memory-backend-memfd,id=ram0,size=16M,share=on", "-device", "e1000,romfile="),
    *("-machine", "memory-backend=ram0", "-serial", "null"),
]


def _make(sandbox: Sandbox, tree: str, name: str, *, mapped: bool) -> None:
    folder = sandbox.files
    (folder / "bios").write_bytes(bytes(1 << 16))
    socket, target = folder / f"{name}.sock", folder / f"{name}.stream"
    argv = [*_MACHINE, "-bios", f"{folder}/bios", "-qmp", f"unix:{socket},server=on,wait=off"]
    process = sandbox.spawn(tree, argv, log=folder / "log")
    while not socket.exists():
        time.sleep(0.1)
    vm = processes.find("sample")
    assert vm is not None
    with Monitor(socket) as monitor:
        with backings(monitor, vm) as files:
            memory = GuestMemory(parts_of(monitor, files), files)
            memory.write(2 * _PAGE, b"A" * _PAGE)
            memory.write(3 * _PAGE, TEXT)
            memory.write(RAM - len(TEXT), TEXT)
            memory.close()
        if mapped:
            states = [{"capability": "mapped-ram", "state": True}]
            monitor.ask("migrate-set-capabilities", capabilities=states)
        monitor.ask("migrate", uri=f"file:{target}" if mapped else f"exec:cat >{target}")
        while monitor.ask("query-migrate").get("status") not in ("completed", "failed"):
            time.sleep(0.1)
    process.end()
    with gzip.GzipFile(_HERE / f"{name}.stream.gz", "wb", 9, mtime=0) as sample:
        sample.write(target.read_bytes())


def main() -> None:
    """Make them."""
    os.umask(0o022)
    with Lab(owned=True) as lab:
        lab.start()
        lab.sandbox.add("qemu", lab.newest_qemu(), beside="tools")
        _make(lab.sandbox, "tools", "plain-old", mapped=False)
        _make(lab.sandbox, "qemu", "plain-new", mapped=False)
        _make(lab.sandbox, "qemu", "mapped-new", mapped=True)


if __name__ == "__main__":
    main()
