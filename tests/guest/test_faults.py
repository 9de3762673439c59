"""What may go wrong in the guest around a checkpoint: all are let go, and nothing is missed."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

import numpy as np
import pytest
from sparc_lab import Lab, QemuMachine, Settings

from sparc.abi import Request, State
from tests.e2e.victims.programs import LETTERS, VICTIMS
from tests.guest.manifest import Manifest
from tests.guest.protected import Protected
from tests.guest.torture import find
from tools.protect import compile_for_guests

_COMPLAINTS = "WARNING|BUG|Oops|stall|lockup|Call Trace|hung task|[Bb]ad page|corrupt"
# Pages that it holds, at least, in each of its processes that rest.
_PAGES = 256
_PROCESSES = {"traced": 2, "vfork": 1, "contained": 2, "dying": 1}
_START = """
mkdir -p /run/victims; rm -f /run/victims/statue.pid
setsid /root/statue {mode} {seed:x} </dev/null >/dev/null 2>/root/statue.log &
until_true '[ -s /run/victims/statue.pid ]'
cat /root/statue.log >&2
sparc exclude $(cat /run/victims/statue.pid)
"""
# On each processor a program that computes, and one that is in the kernel nearly all the time.
_BUSY = """
for processor in $(seq $(nproc)); do
  (while :; do :; done) &
  dd if=/dev/zero of=/dev/null bs=64 2>/dev/null &
done
wait
"""
_GONE = "until_true '! pgrep -x statue >/dev/null' || { ps ax; exit 1; }"


# Longer than a kernel lets a processor do nothing before it complains.
_STILL_SECONDS = 30


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Protected]:
    with _protected(lab, guest, kernel) as here:
        yield here


@pytest.fixture
def wide(lab: Lab, kernel: str) -> Iterator[Protected]:
    """A guest with four processors."""
    machine = lab.up(Settings("wide", "qemu", memory=512, cpus=4, kernel=kernel))
    try:
        assert isinstance(machine, QemuMachine)
        with _protected(lab, machine, kernel) as wide:
            yield wide
    finally:
        lab.down(machine.name)


@contextlib.contextmanager
def _protected(lab: Lab, machine: QemuMachine, kernel: str) -> Iterator[Protected]:
    protected = Protected(lab, machine, kernel)
    machine.put(compile_for_guests(lab, VICTIMS / "statue.c"), "/root/statue")
    yield protected
    protected.close()


def _start(here: Protected, mode: str) -> int:
    seed = random.getrandbits(60)
    here.ok(_START.format(mode=mode, seed=seed))
    return seed


def _check_kept_out(here: Protected, seed: int, processes: int) -> None:
    """All that they hold is in the manifest; they and all others go on, and then are gone."""
    _, ram = here.look()
    places = find(ram, seed, ("secret",)).get("secret", np.array([], np.int64))
    assert len(places) >= _PAGES * processes
    covered = Manifest.of(ram).covers((places[:, None] + np.arange(LETTERS)).ravel())
    assert covered.all()
    here.ok("kill -0 $(cat /run/victims/statue.pid)")
    here.restore()
    here.ok(_GONE)
    _check_kernel(here)


def _check_kernel(here: Protected) -> None:
    assert here.ok(f"dmesg | grep -E '{_COMPLAINTS}' || true") == ""


@pytest.mark.parametrize("mode", _PROCESSES)
def test_who_stands_in_the_way(here: Protected, mode: str) -> None:
    _check_kept_out(here, _start(here, mode), _PROCESSES[mode])


def test_four_processors_that_are_all_busy(wide: Protected) -> None:
    assert wide.ok("nproc") == "4"
    wide.start(f"sh -c '{_BUSY}'")
    seed = _start(wide, "dying")
    _check_kept_out(wide, seed, _PROCESSES["dying"])


def test_a_clock_that_jumps(here: Protected) -> None:
    """As after hours of pause; and the clock on the wall is set while all are asked to freeze."""
    seed = _start(here, "vfork")
    process = here.machine.recorded("vm")
    assert process
    for jump in ("+5 hours", "-5 hours"):
        here.ok(f"""
            (for n in 1 2 3 4 5; do sleep 0.1; date -s '{jump}'; done) >/dev/null 2>&1 &
        """)
        with here.parked(), process.held_still():
            time.sleep(_STILL_SECONDS)
    _check_kernel(here)
    _check_kept_out(here, seed, _PROCESSES["vfork"])


def test_a_guest_that_is_short_of_memory(here: Protected) -> None:
    """It parks, or says that it does not; whoever had to go for lack of memory, all go on."""
    _start(here, "vfork")
    here.ok("""
        mount -t tmpfs -o size=2g none /mnt
        free=$(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)
        head -c $((free - 24000))K /dev/zero >/mnt/full || true
    """)
    for _ in range(3):
        here.host.ask(Request.PREPARE)
        status = here.host.await_state(State.PARKED, State.FAILED)
        here.host.ask(Request.RESUMED)
        if status.state is State.PARKED:
            here.host.await_state(State.IDLE)
        assert here.ok("cat /sys/fs/cgroup/*/cgroup.freeze | sort -u") == "0"
    here.ok("umount /mnt; pkill -9 -x statue; sparc status")
    with here.parked():
        pass
