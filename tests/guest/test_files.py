"""Which files are kept out, and which stay."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from sparc_lab import Lab, QemuMachine

from sparc.abi import Reason, Request, State
from tests.guest.manifest import Manifest
from tests.guest.protected import Protected

_PAGE = 4096
_PAGES = 16
_COMPLAINTS = "WARNING|BUG|Oops|stall|lockup|Call Trace|hung task|[Bb]ad page|corrupt|sparc: "
_RESTORES = 3

# The same line again and again, so that a page proves to be the file's by itself.
_FILL = "yes {pattern} | head -c {bytes} >{path}"
_USER = """
cat >/root/user.sh <<'END'
exec 3<"$1" 4>>"$2"
cat <&3 >/dev/null
echo >&4
echo $$ >/run/user.pid
while :; do sleep 0.2; done
END
rm -f /run/user.pid; setsid bash /root/user.sh {read} {written} </dev/null >/dev/null 2>&1 &
until_true '[ -s /run/user.pid ]'
sparc exclude {options} $(cat /run/user.pid)
"""
_WAIT = "while [ ! -e /run/go ]; do sleep 0.1; done"
# A page of it is four blocks.
_DISK = """
truncate -s 64M /root/disk && mkfs.ext4 -q -F -b 1024 /root/disk && mkdir -p /mnt/disk
mount -o loop /root/disk /mnt/disk
"""
# Excluded before it begins, and in a session of its own before that: what waits in the terminal of
# an excluded program is dropped after a restore, and at this one the guest is told what to do.
_WORK = """
cat >/root/work.sh <<'END'
cd /mnt/disk
dd if=/dev/urandom of=kept.$1 bs=64k count=8 2>/dev/null
sha256sum kept.$1 >>/root/sums
exec 3<kept.$1 4>open.$1 5>>shared.$1
head -c 100000 kept.$1 >&4
touch /run/ready
while :; do sleep 0.2; done
END
rm -f /run/go /run/ready /run/user.pid
setsid bash -c 'echo $$ >/run/user.pid; {wait}; exec bash /root/work.sh {turn}' \
    </dev/null >/dev/null 2>&1 &
until_true '[ -s /run/user.pid ]'
sparc exclude $(cat /run/user.pid) && touch /run/go
until_true '[ -e /run/ready ]'
"""
# Not excluded: has what the other has written mapped, and goes on writing where that one may, too.
_OUTSIDER = """
cat >/root/outsider.py <<'END'
import hashlib, mmap, os, sys, time
with open(sys.argv[1], "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
print(hashlib.sha256(mapped).hexdigest(), flush=True)
with open(sys.argv[2], "a", 1) as shared:
    number = 0
    while not os.path.exists("/run/end"):
        print(number, file=shared)
        number += 1
        time.sleep(0.01)
print(hashlib.sha256(mapped).hexdigest())
END
rm -f /run/end /run/seen
python3 /root/outsider.py /mnt/disk/kept.{turn} /mnt/disk/shared.{turn} >/run/seen 2>&1 </dev/null &
echo $! >/run/outsider.pid
until_true '[ -s /run/seen ]'
"""
# Whoever likes may map anything so that it could be run.
_RUNNABLE = """
cat >/root/runnable.py <<'END'
import mmap, os, time
with open("/root/data", "rb") as file:
    mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
print(mapped[0], flush=True)
time.sleep(1000)
END
rm -f /run/seen
python3 /root/runnable.py >/run/seen </dev/null 2>&1 &
echo $! >/run/outsider.pid
until_true '[ -s /run/seen ]'
grep -q r-xp.*/root/data /proc/$!/maps
"""
_INLINE = """
truncate -s 8M /root/inline && mkfs.ext4 -q -F -O inline_data -I 256 /root/inline
mkdir -p /mnt/inline && mount -o loop /root/inline /mnt/inline && echo secret >/mnt/inline/small
"""
# A disk in a file of another one; where that is frozen, nothing can be written to it.
_STUCK = """
truncate -s 96M /root/outer && mkfs.ext4 -q -F /root/outer && mkdir -p /mnt/outer /mnt/inner
mount -o loop /root/outer /mnt/outer
truncate -s 32M /mnt/outer/disk && mkfs.ext4 -q -F /mnt/outer/disk
mount -o loop /mnt/outer/disk /mnt/inner && touch /mnt/inner/read /mnt/inner/written
"""
_STICK = "sync; fsfreeze -f /mnt/outer && yes | head -c 100000 >>/mnt/inner/written"
_CLOSER = """
cat >/root/closer.sh <<'END'
exec 4>>/mnt/inner/written
echo $$ >/run/user.pid
while [ ! -e /run/go ]; do sleep 0.2; done
exec 4>&-
touch /run/done
while :; do sleep 0.2; done
END
rm -f /run/go /run/done /run/user.pid
setsid bash /root/closer.sh </dev/null >/dev/null 2>&1 &
until_true '[ -s /run/user.pid ]'
sparc exclude $(cat /run/user.pid)
"""
# Of somebody else, for something else.
_WATCH = """
cat >/root/watch.py <<'END'
import ctypes, os
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
assert libc.inotify_add_watch(watch, b"/run", 2) >= 0
os.close(watch)
open("/run/watched", "w").close()
END
rm -f /run/watched; python3 /root/watch.py </dev/null >/dev/null 2>&1 &
until_true '[ -e /run/watched ]'
"""
_UNSTICK = "fsfreeze -u /mnt/outer"
# Nothing holds on to either of them any more.
_APART = """
for disk in inner outer; do until_true "umount /mnt/$disk 2>/dev/null" || exit; done
until_true '! losetup -j /root/outer | grep -q .' && rm /root/outer
"""
_DISKS = 12
_MANY_DISKS = f"""
cat >/root/disks.sh <<'END'
for disk in $(cat /root/disks); do exec {{fd}}<$disk; cat <&$fd >/dev/null; done
echo $$ >/run/user.pid
while :; do sleep 0.2; done
END
rm -f /root/disks /run/user.pid
for number in $(seq {_DISKS}); do
  truncate -s 4M /root/disk.$number && mkfs.ext4 -q -F /root/disk.$number || exit
  mkdir -p /mnt/disk.$number && mount -o loop /root/disk.$number /mnt/disk.$number || exit
  echo before >/mnt/disk.$number/note
  losetup -n -O NAME -j /root/disk.$number >>/root/disks
done
sync
setsid bash /root/disks.sh </dev/null >/dev/null 2>&1 &
until_true '[ -s /run/user.pid ]'
sparc exclude $(cat /run/user.pid)
"""
_MANY_SOUND = f"""
for number in $(seq {_DISKS}); do
  [ "$(cat /mnt/disk.$number/note)" = before ] && echo after >/mnt/disk.$number/note || exit
  umount /mnt/disk.$number && e2fsck -fn /root/disk.$number >/dev/null 2>&1 || exit
  rm /root/disk.$number
done
"""
# How often the service has slept, which mends in its own name.
_SLEPT = """
cat /proc/$(pgrep -o -f '[s]parc-guestd')/task/*/status |
  awk '/^voluntary/ {sum += $2} END {print sum}'
"""
# The longest that one of them may be tried for would be a hundred.
_SLEEPS_A_DISK = 30
_GONE = "until_true '[ ! -e /proc/{pid} ]'"
_SOUND = """
cd /mnt/disk && sha256sum --quiet -c /root/sums || exit
cmp open.{turn} <(head -c 100000 kept.{turn}) || exit
cmp shared.{turn} <(seq 0 $(($(wc -l <shared.{turn}) - 1))) || exit
sum=$(dd if=kept.{turn} iflag=direct bs=64k status=none | sha256sum | cut -d ' ' -f 1)
cmp /run/seen <(echo $sum; echo $sum)
"""


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Iterator[Protected]:
    here = Protected(lab, guest, kernel)
    yield here
    here.close()


def _pattern() -> str:
    return "".join(random.choices("abcdefghij", k=15))


def _file(here: Protected, path: str) -> str:
    """Make a file of some pages; the line that it consists of."""
    pattern = _pattern()
    here.ok(_FILL.format(pattern=pattern, bytes=_PAGE * _PAGES, path=path) + "; sync")
    return pattern


def _cached(ram: npt.NDArray[np.uint8], pattern: str) -> npt.NDArray[np.int64]:
    """Page frames that hold nothing but lines of it."""
    line = np.frombuffer(f"{pattern}\n".encode(), np.uint8)
    pages = ram.reshape(-1, _PAGE // len(line), len(line))
    return np.flatnonzero((pages == line).all(axis=(1, 2)))


def _end(here: Protected) -> None:
    here.ok("kill -9 $(cat /run/user.pid); sleep 0.5")


def test_what_it_has_open_is_kept_out_but_for_what_is_to_stay(here: Protected) -> None:
    read, kept = _file(here, "/root/read"), _file(here, "/root/kept")
    here.ok(_USER.format(read="/root/read", written="/root/kept", options="--keep-file /root/kept"))
    _, ram = here.look()
    manifest = Manifest.of(ram)
    assert len(_cached(ram, read)) >= _PAGES
    out = manifest.stash | manifest.drop
    assert out[_cached(ram, read)].all()
    assert (~out[_cached(ram, kept)]).sum() >= _PAGES - 1
    _end(here)


def test_memory_files_stay_where_they_are_only_read(here: Protected) -> None:
    read, written = _file(here, "/run/read"), _file(here, "/run/written")
    here.ok(_USER.format(read="/run/read", written="/run/written", options=""))
    _, ram = here.look()
    manifest = Manifest.of(ram)
    out = manifest.stash | manifest.drop
    assert (~out[_cached(ram, read)]).sum() == _PAGES
    assert out[_cached(ram, written)].all()
    _end(here)


def test_programs_and_libraries_stay(here: Protected) -> None:
    """Else a restored guest would have to read all of its C library again."""
    here.ok(_USER.format(read="/dev/null", written="/dev/null", options=""))
    _, ram = here.look()
    manifest = Manifest.of(ram)
    shell = here.ok("tail -c +4097 /bin/bash | head -c 4096 | od -An -v -tx1 | tr -d ' \\n'")
    page = np.frombuffer(bytes.fromhex(shell), np.uint8)
    (places,) = np.nonzero((ram.reshape(-1, _PAGE) == page).all(axis=1))
    assert len(places)
    assert not (manifest.stash | manifest.drop)[places].all()
    _end(here)


def test_closed_files_leave_the_cache_at_once(here: Protected) -> None:
    pattern = _file(here, "/root/closed")
    here.ok(
        "rm -f /run/go; setsid bash -c '" + _WAIT + ";"
        " cat /root/closed >/dev/null; touch /run/done; sleep 1000' </dev/null >/dev/null 2>&1 &"
        "echo $! >/run/user.pid; sparc exclude $!; rm -f /run/done; touch /run/go;"
        " while [ ! -e /run/done ]; do sleep 0.1; done"
    )
    assert here.ok("fincore -nb -o PAGES /root/closed").strip() == "0"
    assert here.ok(f"grep -c {pattern} /root/closed").strip() == str(_PAGES * _PAGE // 16)
    _end(here)


def test_data_that_could_be_run_is_no_program(here: Protected) -> None:
    pattern = _file(here, "/root/data")
    here.ok(_RUNNABLE)
    here.ok(_USER.format(read="/root/data", written="/dev/null", options=""))
    _, ram = here.look()
    manifest = Manifest.of(ram)
    places = _cached(ram, pattern)
    assert len(places) >= _PAGES
    assert (manifest.stash | manifest.drop)[places].all()
    here.ok("kill $(cat /run/outsider.pid)")
    _end(here)


def test_a_file_that_is_one_hole_is_in_no_inode(here: Protected) -> None:
    here.ok("truncate -s 4096 /root/hole")
    here.ok(_USER.format(read="/root/hole", written="/dev/null", options=""))
    with here.parked():
        pass
    _end(here)


def test_disks_are_sound_after_many_restores(here: Protected) -> None:
    here.ok(_DISK)
    here.ok("yes | head -c 200000 >/mnt/disk/outside; sha256sum /mnt/disk/outside >/root/sums")
    for turn in range(_RESTORES):
        here.ok(_WORK.format(turn=turn, wait=_WAIT))
        here.ok(_OUTSIDER.format(turn=turn))
        here.restore()
        here.ok(_GONE.format(pid="$(cat /run/user.pid)"))
        here.ok("touch /run/end; " + _GONE.format(pid="$(cat /run/outsider.pid)"))
        here.ok(_SOUND.format(turn=turn))
    here.ok("umount /mnt/disk && e2fsck -fn /root/disk")
    here.ok("mount -o loop /root/disk /mnt/disk; cd /mnt/disk; sha256sum --quiet -c /root/sums")
    here.ok("umount /mnt/disk; rm /root/disk")
    assert here.ok(f"dmesg | grep -E '{_COMPLAINTS}' | grep -v taint || true") == ""


def test_a_file_in_its_inode_is_refused(here: Protected) -> None:
    here.ok(_INLINE)
    here.ok(_USER.format(read="/mnt/inline/small", written="/dev/null", options=""))
    _refused(here, Reason.BUSY)
    assert "small and lies in metadata" in here.ok("dmesg")
    _end(here)
    here.ok("umount /mnt/inline; rm /root/inline")


def test_mounted_disks_are_soon_mended(here: Protected) -> None:
    """What the file system needs of each stays, so that trying for long is of no use."""
    here.ok(_MANY_DISKS)
    before = int(here.ok(_SLEPT))
    here.restore()
    here.ok("true")
    assert int(here.ok(_SLEPT)) - before < _SLEEPS_A_DISK * _DISKS
    here.ok(_GONE.format(pid="$(cat /run/user.pid)"))
    here.ok(_MANY_SOUND)


def test_a_disk_that_does_not_answer_holds_nobody_up(here: Protected) -> None:
    here.ok(_STUCK)
    here.ok(_USER.format(read="/mnt/inner/read", written="/mnt/inner/written", options=""))
    here.ok(_STICK)
    for _ in range(2):
        _refused(here, Reason.WRITE_BACK)
        here.ok("true")
    here.ok(_UNSTICK)
    with here.parked():
        pass
    _end(here)
    here.ok(_APART)


def test_who_closes_a_file_there_waits_alone(here: Protected) -> None:
    here.ok(_STUCK)
    here.ok(_CLOSER)
    here.ok(_STICK)
    here.ok("touch /run/go; sleep 2; [ ! -e /run/done ]")
    here.ok(_WATCH)
    here.ok(_UNSTICK)
    here.ok("until_true '[ -e /run/done ]'")
    assert here.ok("fincore -nb -o PAGES /mnt/inner/written").strip() == "0"
    _end(here)
    here.ok(_APART)


def test_the_module_goes_only_when_nothing_is_being_written(here: Protected) -> None:
    """The last: it is gone then."""
    here.ok(_STUCK)
    here.ok(_USER.format(read="/mnt/inner/read", written="/mnt/inner/written", options=""))
    here.ok(_STICK)
    _refused(here, Reason.WRITE_BACK)
    here.ok("sparc include $(cat /run/user.pid); guestd stop")
    here.ok("rmmod sparc & echo $! >/run/rmmod.pid; sleep 3; [ -e /proc/$! ]")
    here.ok(_UNSTICK)
    here.ok(_GONE.format(pid="$(cat /run/rmmod.pid)"))
    here.ok("! grep -q ^sparc /proc/modules")
    _end(here)
    here.ok(_APART)
    assert here.ok(f"dmesg | grep -E '{_COMPLAINTS}' | grep -v -e taint -e metadata || true") == ""


def _refused(here: Protected, reason: Reason) -> None:
    here.host.ask(Request.PREPARE)
    status = here.host.await_state(State.PARKED, State.FAILED)
    assert (status.state, status.reason) == (State.FAILED, reason)
