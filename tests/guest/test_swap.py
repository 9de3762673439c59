"""What excluded processes have in swap comes back, and nothing of it stays where it was.

On a disk, compressed in memory by zram, and by zswap, under Debian's kernels.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sparc_lab import Lab, QemuMachine

from sparc.abi import Request, State
from tests.guest.manifest import Manifest
from tests.guest.qemu_host import QemuHost
from tests.guest.served import Served

_PROGRAM = Path(__file__).parent / "programs" / "hoarder.py"
_AREAS = {
    "file": "swapon -p 5 /swapfile",
    "zram": "modprobe zram; echo 256M >/sys/block/zram0/disksize; mkswap -q /dev/zram0;"
    "swapon -p 7 /dev/zram0",
    "zswap": "echo Y >/sys/module/zswap/parameters/enabled; swapon -p 5 /swapfile",
}
_MADE = "fallocate -l 64M /swapfile && chmod 600 /swapfile && mkswap -q /swapfile"
_START = """
mkdir -p /sys/fs/cgroup/hoard; echo +memory >/sys/fs/cgroup/cgroup.subtree_control
rm -f /run/told
cd /root; sh -c 'echo $$ >/sys/fs/cgroup/hoard/cgroup.procs
exec python3 hoarder.py {nonce} /run/told' >/dev/null 2>&1 </dev/null &
echo $!
until [ "$(cat /run/told)" = ready ]; do sleep 0.2; done 2>/dev/null
"""
_SWAP_OUT = """
for turn in 1 2 3 4 5 6 7 8; do
  echo 16M >/sys/fs/cgroup/hoard/memory.reclaim 2>/dev/null
  set -- $(grep VmSwap /proc/{pid}/status); [ $2 -gt 6000 ] && break
done
sync; echo $2
"""
_CHECK = """
rm -f /run/told; kill -USR1 {pid}; until [ -s /run/told ]; do sleep 0.1; done; cat /run/told
"""


@pytest.fixture(scope="module")
def kernel(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The lab's own kernel has no swap."""
    metafunc.parametrize("kernel", ["debian-6.1", "debian-7.2"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Served]:
    here = Served(lab, guest, kernel)
    guest.put(_PROGRAM, "/root/hoarder.py")
    here.ok(_MADE)
    yield here


def _swaps(here: Served) -> list[tuple[str, str]]:
    """Path and priority of what is on."""
    rows = [line.split() for line in here.ok("tail -n +2 /proc/swaps").splitlines()]
    return [(row[0], row[4]) for row in rows]


def _in_swap(here: Served, pid: int) -> int:
    return int(here.ok(f"grep VmSwap /proc/{pid}/status").split()[1])


def _on_disk(here: Served, secret: bytes) -> int:
    """How often a secret stands in the image of the guest's disk."""
    here.ok("sync")
    (disk,) = here.machine.folder.glob("root.*")
    return len(_places(disk, secret))


def _places(path: Path, secret: bytes) -> list[int]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        return [found.start() for found in re.finditer(re.escape(secret), content)]


def _parked(here: Served, look: Callable[[], None]) -> None:
    host = QemuHost(here.machine)
    try:
        host.ask(Request.PREPARE)
        status = host.await_state(State.PARKED, State.FAILED)
        assert status.state is State.PARKED, status
        try:
            look()
        finally:
            host.ask(Request.RESUMED)
        host.await_state(State.IDLE)
    finally:
        host.close()


@pytest.mark.every_kernel
@pytest.mark.parametrize(
    "area", ["file", *(pytest.param(name, marks=pytest.mark.long) for name in ("zram", "zswap"))]
)
def test_nothing_stays_in_swap(here: Served, area: str, kernel: str, tmp_path: Path) -> None:
    nonce = f"{area}-{kernel}"
    secret = hashlib.sha256(nonce.encode()).digest()
    here.ok(_AREAS[area])
    on = _swaps(here)
    pid = int(here.ok(_START.format(nonce=nonce)))
    assert int(here.ok(_SWAP_OUT.format(pid=pid))) > 6000
    if area == "file":
        assert _on_disk(here, secret) > 1000

    excluded = here.sh(f"sparc exclude {pid}")
    assert excluded.status == 0 and b"were in swap" in excluded.stderr, excluded.stderr
    assert _in_swap(here, pid) == 0
    assert _on_disk(here, secret) == 0
    assert _swaps(here) == on
    if area == "file":
        here.ok("until systemctl -q is-active swapfile.swap; do sleep 0.2; done")

    # And again, as the kernel does it at any time.
    assert int(here.ok(_SWAP_OUT.format(pid=pid))) > 6000
    ram = tmp_path / "ram"

    def look() -> None:
        here.machine.ram(ram)

    _parked(here, look)
    assert _on_disk(here, secret) == 0
    places = np.array(_places(ram, secret), np.int64)
    assert len(places) >= 2000
    manifest = Manifest.of(np.memmap(ram, np.uint8, "r"))
    missed = places[~manifest.covers(places)]
    assert not len(missed), [hex(place) for place in missed[:10]]
    assert _swaps(here) == on
    assert here.ok(_CHECK.format(pid=pid)) == "right"
    here.ok(f"sparc include {pid}; kill {pid}; swapoff -a")
    here.ok("[ ! -e /sys/module/zswap ] || echo N >/sys/module/zswap/parameters/enabled")
    assert here.ok("dmesg | grep -E 'WARNING|BUG|Oops|hung task' || true") == ""


def test_what_cannot_be_overwritten_is_refused(here: Served) -> None:
    early, late = (int(here.ok(_START.format(nonce=nonce))) for nonce in ("early", "late"))
    here.ok(f"sparc exclude {early}")
    # What zram puts on a disk of its own is beyond reach.
    here.ok(
        "modprobe zram; [ -e /sys/block/zram0 ]; modprobe loop; truncate -s 32M /root/backing\n"
        "swapoff -a; echo 1 >/sys/block/zram0/reset; losetup /dev/loop0 /root/backing\n"
        "cd /sys/block/zram0; echo /dev/loop0 >backing_dev; echo 128M >disksize\n"
        "mkswap -q /dev/zram0 && swapon /dev/zram0"
    )
    on = _swaps(here)
    for pid in (early, late):
        assert int(here.ok(_SWAP_OUT.format(pid=pid))) > 6000
    refused = here.sh(f"sparc exclude {late}")
    assert refused.status == 2 and b"/dev/zram0: this swap area cannot" in refused.stderr
    assert [row["pid"] for row in here.json("sparc list --json")["processes"]] == [early]
    host = QemuHost(here.machine)
    host.ask(Request.PREPARE)
    status = host.await_state(State.PARKED, State.FAILED)
    host.close()
    assert status.state is State.FAILED
    assert here.json("sparc status --json")["checkpoint"]["reason"] == "swap"
    assert _swaps(here) == on
    here.ok(f"kill {early} {late}; swapoff -a; echo 1 >/sys/block/zram0/reset")
