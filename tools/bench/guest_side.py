"""What the module costs in the guest: `python -m tools.bench.guest_side --out FILE`.

Under QEMU, in instructions. Each line of FILE is JSON. One count has: experiment (``guest-memory``,
``guest-processes``, ``guest-excluded``), ``memory`` (MB), ``processes`` beside those of an idle
guest, ``excluded`` (MB), ``pages`` of RAM, ``drop`` and ``stash`` (pages), ``extents``,
``bitmap_bytes`` and ``run_bytes`` of what the guest keeps for its host, ``instructions``. What the
same programs take while nobody takes a checkpoint is ``guest-everyday``: ``case``, ``instructions``
(a list). What FILE has already is not counted anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from sparc_lab import Lab, QemuMachine, Settings

from sparc import abi, wire
from tools.bench.results import Measured, Results, numbers
from tools.protect import compile_for_guests

_HERE = Path(__file__).parent
_KMOD = _HERE.parents[1] / "kmod"
_SECONDS = 1800
# As distributions have it: pages are cleared for their next user.
_EVERYDAY_MB, _EVERYDAY_KERNEL = 1024, "debian-6.1"
_RUN = "/run/dirty"
_EXCLUDE = f"""
import fcntl, os, struct, sys
device = os.open("/dev/sparc", os.O_RDWR)
target = struct.pack("<iI{wire.TARGET.size - 8}x", int(sys.argv[1]), {wire.WITH_DESCENDANTS})
fcntl.ioctl(device, {wire.IOC_EXCLUDE}, bytearray(target))
"""
# Counts twice: the first fills caches.
_COUNT = f"""{_EXCLUDE}
for _ in range(2):
    answer = bytearray({abi.Collect.sizeof()})
    fcntl.ioctl(device, {abi.IOC_COLLECT}, answer)
print(answer.hex())
"""


# The first ones fill caches.
_DAYS, _WARM = 12, 2


class Counted:
    """A guest whose clock counts instructions."""

    def __init__(self, lab: Lab, memory: int, kernel: str = "lab") -> None:
        own = Settings(f"counted{memory}", "qemu", memory=memory, counted=True, kernel=kernel)
        machine = lab.up(own)
        assert isinstance(machine, QemuMachine)
        self._lab, self.machine = lab, machine
        for name in ("dirty", "workload"):
            machine.put(compile_for_guests(lab, _HERE / f"{name}.c"), f"/root/{name}")

    def load(self) -> None:
        """The module, without the service."""
        module = self._lab.build_module(_KMOD, self.machine.settings.kernel)
        self.machine.put(module, "/root/sparc.ko")
        self.sh("insmod /root/sparc.ko")

    def clear(self, when: int) -> None:
        """What is freed: 2 at once, 1 only from the first exclusion on."""
        parameter = "/sys/module/sparc/parameters/scrub"
        self.sh(f"echo 0 >{parameter}; echo {when} >{parameter}")

    def days(self) -> list[int]:
        """Instructions of the same programs each time."""
        return [int(word) for word in self.sh(f"/root/workload {_DAYS}").split()][_WARM:]

    def exclude(self) -> None:
        """Somebody, who rests."""
        self.sh(f"""
            setsid sleep 100000 </dev/null >/dev/null 2>&1 &
            python3 -c '{_EXCLUDE}' $!
        """)

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
            "bitmap_bytes": 2 * abi.bitmap_bytes(manifest.ram_pages),
            "run_bytes": manifest.run_bytes,
            "instructions": answer.collect_ns,
        }


def _counts(
    guest: Counted, memory: int, processes: list[int], excluded: list[int]
) -> Iterator[Measured]:
    yield {"experiment": "guest-memory", "memory": memory, **guest.count(0, 16)}
    for more in processes:
        yield {"experiment": "guest-processes", "memory": memory, **guest.count(more, 16)}
    for more in excluded:
        yield {"experiment": "guest-excluded", "memory": memory, **guest.count(0, more)}


def _everyday(lab: Lab) -> Iterator[Measured]:
    guest = Counted(lab, _EVERYDAY_MB, _EVERYDAY_KERNEL)
    for case, begin in {
        "no module": lambda: None,
        "module": guest.load,
        "module, `scrub=1`": lambda: guest.clear(1),
        "somebody excluded": guest.exclude,
    }.items():
        begin()
        yield {"experiment": "guest-everyday", "case": case, "instructions": guest.days()}
    lab.down(guest.machine.name)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--memory", default="512,1024,2048,4096,65536", show_default=True)
@click.option("--more-memory", default=2048, show_default=True, help="Of the others.")
@click.option("--processes", default="10,100,400", show_default=True)
@click.option("--excluded", default="1,64,256,1024", show_default=True)
def main(out: Path, memory: str, more_memory: int, processes: str, excluded: str) -> None:
    """Count what FILE has not yet, and add it."""
    results = Results(out)
    with Lab(owned=True) as lab:
        for size in numbers(memory):
            if results.has(experiment="guest-memory", memory=size):
                continue
            guest = Counted(lab, size)
            guest.load()
            more = (numbers(processes), numbers(excluded)) if size == more_memory else ([], [])
            results.add(*_counts(guest, size, *more))
            lab.down(guest.machine.name)
        if not results.has(experiment="guest-everyday"):
            results.add(*_everyday(lab))


if __name__ == "__main__":
    main()
