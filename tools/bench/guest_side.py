"""What a count costs in the guest: `python -m tools.bench.guest_side --out FILE`.

Under QEMU, in instructions. Each line of FILE is one count as JSON: experiment, ``memory`` (MB),
``processes`` beside those of an idle guest, ``excluded`` (MB), ``pages`` of RAM, ``drop`` and
``stash`` (pages), ``extents``, ``instructions``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from sparc_lab import Lab, QemuMachine, Settings

from sparc import abi, wire
from tools.bench.checkpoints import numbers
from tools.protect import compile_for_guests

_HERE = Path(__file__).parent
_KMOD = _HERE.parents[1] / "kmod"
_SECONDS = 1800
_RUN = "/run/dirty"
# Names a process, and counts twice: the first fills caches.
_COUNT = f"""
import fcntl, os, struct, sys
device = os.open("/dev/sparc", os.O_RDWR)
target = struct.pack("<iI{wire.TARGET.size - 8}x", int(sys.argv[1]), {wire.WITH_DESCENDANTS})
fcntl.ioctl(device, {wire.IOC_EXCLUDE}, bytearray(target))
for _ in range(2):
    answer = bytearray({abi.Collect.sizeof()})
    fcntl.ioctl(device, {abi.IOC_COLLECT}, answer)
print(answer.hex())
"""


class Counted:
    """A guest whose clock counts instructions, with the module and without the service."""

    def __init__(self, lab: Lab, memory: int) -> None:
        machine = lab.up(Settings(f"counted{memory}", "qemu", memory=memory, counted=True))
        assert isinstance(machine, QemuMachine)
        self.machine = machine
        machine.put(lab.build_module(_KMOD), "/root/sparc.ko")
        machine.put(compile_for_guests(lab, _HERE / "dirty.c"), "/root/dirty")
        self.sh("insmod /root/sparc.ko")

    def sh(self, script: str) -> str:
        """What a script printed; it has to succeed."""
        done = self.machine.shell(script, _SECONDS)
        if done.status:
            raise RuntimeError(done.stdout + done.stderr)
        return done.text

    def count(self, processes: int, excluded: int) -> dict[str, int]:
        """Count with so many more processes, and one of so many MB that is excluded."""
        told = self.sh(f"""
            rm -f {_RUN}
            for n in $(seq {processes}); do setsid sleep 100000 </dev/null >/dev/null 2>&1 & done
            setsid /root/dirty {excluded} </dev/null >/dev/null 2>&1 &
            until [ -s {_RUN} ]; do sleep 0.1; done
            sync; echo 1 >/proc/sys/vm/drop_caches
            python3 -c '{_COUNT}' $(cat {_RUN})
            kill $(cat {_RUN}); pkill -x sleep; true
        """)
        answer = abi.Collect.parse(bytes.fromhex(told.strip()))
        if answer.reason:
            raise RuntimeError(f"the guest did not count: {answer.reason}")
        manifest = answer.manifest
        return {
            "processes": processes,
            "excluded": excluded,
            "pages": manifest.ram_pages,
            "drop": manifest.drop_pages,
            "stash": manifest.stash_pages,
            "extents": manifest.extents,
            "instructions": answer.collect_ns,
        }


def _counts(memory: list[int], processes: list[int], excluded: list[int]) -> Iterator[Any]:
    with Lab(owned=True) as lab:
        for size in memory:
            guest = Counted(lab, size)
            yield {"experiment": "guest-memory", "memory": size, **guest.count(0, 16)}
            if size == memory[-1]:
                for more in processes:
                    yield {"experiment": "guest-processes", "memory": size, **guest.count(more, 16)}
                for more in excluded:
                    yield {"experiment": "guest-excluded", "memory": size, **guest.count(0, more)}
            lab.down(guest.machine.name)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--memory", default="512,1024,2048,4096", show_default=True, callback=numbers)
@click.option("--processes", default="10,100,400", show_default=True, callback=numbers)
@click.option("--excluded", default="1,64,256,1024", show_default=True, callback=numbers)
def main(out: Path, memory: list[int], processes: list[int], excluded: list[int]) -> None:
    """Count, and add what was counted to a file."""
    with out.open("a") as file:
        for counted in _counts(memory, processes, excluded):
            print(json.dumps(counted), file=file, flush=True)


if __name__ == "__main__":
    main()
