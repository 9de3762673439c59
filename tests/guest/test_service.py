"""The guest's service with the real module, under every kernel, with systemd and without."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, QemuMachine

from sparc.abi import Reason, Request, State
from tests.guest.qemu_host import QemuHost
from tests.guest.served import Scripts
from tools import guest_bundle

_PROJECT = Path(__file__).parents[2]
_FREEZE_SECONDS = 20
# A guest that has not done so little by then does nothing at all.
_ANSWER_SECONDS = 60
_PATH = "export PATH=/usr/local/sbin:/usr/local/bin:$PATH\n"


class _Guest(Scripts):
    """A guest in which everything is installed and the service runs."""

    def __init__(self, machine: QemuMachine, systemd: bool) -> None:
        super().__init__(machine)
        self.systemd = systemd
        # Enough for a test machine that is busy with other things too.
        self.ok(f"echo SPARC_FREEZE_SECONDS={_FREEZE_SECONDS} >/etc/default/sparc-guestd")
        self.control("start")
        self.host = QemuHost(machine)

    def control(self, what: str) -> None:
        self.ok(f"guestd {what}")

    def lives(self, pid: int) -> bool:
        return self.sh(f"kill -0 {pid}").status == 0

    def groups(self) -> dict[str, str]:
        """The control group of each process, kernel threads apart."""
        each = "grep -q . $p/cmdline && echo $p $(cat $p/cgroup)"
        told = self.ok(f"cd /proc; for p in [0-9]*; do {each}; done 2>/dev/null; true")
        return dict(line.split(" ", 1) for line in told.splitlines() if " " in line)

    def checkpoint(self) -> None:
        self.host.ask(Request.PREPARE)
        status = self.host.await_state(State.PARKED, State.FAILED)
        assert status.state is State.PARKED, status
        self.host.ask(Request.RESUMED)
        self.host.await_state(State.IDLE)

    def restored(self) -> None:
        self.host.ask(Request.PREPARE)
        self.host.await_state(State.PARKED)
        self.host.zero_canary()
        self.host.await_state(State.IDLE)


@pytest.fixture(scope="module")
def here(
    lab: Lab, guest: QemuMachine, kernel: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_Guest]:
    bundle = tmp_path_factory.mktemp("bundle") / "guest.tar.gz"
    guest_bundle.write(bundle)
    guest.put(bundle, "/root/guest.tar.gz")
    guest.put(lab.build_module(_PROJECT / "kmod", kernel), "/root/sparc.ko")
    guest.put(Path(__file__).with_name("sigio.py"), "/root/sigio.py")
    unpacked = guest.shell("cd / && tar xzf /root/guest.tar.gz")
    assert unpacked.status == 0, unpacked.stderr
    missing = guest.shell(_PATH + "sparc status")
    assert (missing.status, b"modprobe sparc" in missing.stderr) == (2, True)
    assert guest.shell("insmod /root/sparc.ko").status == 0
    missing = guest.shell(_PATH + "sparc status")
    assert (missing.status, b"is not running" in missing.stderr) == (2, True)
    guest.shell("systemctl daemon-reload")
    here = _Guest(guest, systemd=kernel != "lab")
    yield here
    here.host.close()


def test_the_version_and_what_a_guest_has_not(here: _Guest) -> None:
    assert here.ok("sparc --version").startswith("sparc, version ")
    audit = here.sh("sparc audit file")
    assert audit.status == 2 and b"not installed" in audit.stderr


def test_exclude_list_include(here: _Guest) -> None:
    pid = here.start("sh -c 'sleep 1001; :'")
    assert here.ok(f"sparc exclude {pid}") == f"{pid} sh: excluded, and 1 process with it"
    rows = {row["pid"]: row for row in here.json("sparc list --json")["processes"]}
    assert (rows[pid]["name"], rows[pid]["program"]) == ("sh", "dash")
    assert [row["name"] for row in rows.values() if row["pid"] != pid] == ["sleep"]
    assert here.ok(f"sparc exclude {pid}") == f"{pid} sh: is excluded already"
    assert here.ok(f"sparc include {pid}") == f"{pid} sh: included, and 1 process with it"
    assert here.json("sparc list --json")["processes"] == []
    here.ok(f"kill {pid}; pkill -x sleep")


def test_what_would_be_kept_out_is_counted(here: _Guest) -> None:
    pid = here.start("sleep 1002")
    here.ok(f"sparc exclude {pid}")
    told = here.json("sparc top --json")
    assert [process["pid"] for process in told["processes"]] == [pid]
    assert told["count"]["reason"] == "none" and told["count"]["took_us"] > 0
    # Its stack at least, and more than half of a machine that has just started.
    assert told["count"]["kinds"]["anon"]["pages"] > 0
    assert told["count"]["kinds"]["free"]["pages"] > 1024 * 256 / 2
    assert "memory of the programs" in here.ok("sparc top --once")
    here.ok(f"kill {pid}")


def test_by_terminal_and_group(here: _Guest) -> None:
    reply = here.json("sparc exclude --tty tty1 --json")
    assert "bash" in [entry["name"] for entry in reply["done"]] and reply["failed"] == []
    here.ok("sparc include --tty tty1")
    group = "/sys/fs/cgroup/sparc-test/below"
    pid = here.start(f"sh -c 'mkdir -p {group}; echo $$ >{group}/cgroup.procs; exec sleep 1002'")
    time.sleep(1)
    reply = here.json("sparc exclude --cgroup /sparc-test --json")
    assert [entry["pid"] for entry in reply["done"]] == [pid]
    here.ok("sparc include --cgroup /sys/fs/cgroup/sparc-test")
    assert here.json("sparc list --json")["processes"] == []
    here.ok(f"kill {pid}; sleep 0.5; rmdir {group} /sys/fs/cgroup/sparc-test")


def test_who_cannot_be_excluded(here: _Guest) -> None:
    service = int(here.json("sparc status --json")["pid"])
    pid = here.start("sleep 1003")
    result = here.sh(f"sparc exclude 1 2 {service} 4194300 {pid}")
    assert (result.status, result.text) == (1, f"{pid} sleep: excluded")
    for words in ("is init", "is a kernel thread", "is sparc-guestd itself", "no such process"):
        assert words in result.stderr.decode()
    assert here.sh("sparc exclude 1").status == 2
    here.ok(f"kill {pid}")


def test_run_is_excluded_from_its_first_instruction(here: _Guest) -> None:
    told = here.sh("sparc run -- sh -c 'echo $$; sparc list --json; exit 7'")
    pid, _, listed = told.text.partition("\n")
    assert told.status == 7
    assert int(pid) in [row["pid"] for row in json.loads(listed)["processes"]]
    assert here.sh("sparc run sh -c 'kill -9 $$'").status == 137
    assert here.sh("sparc run no-such-program").status == 127
    assert here.sh("sparc run /etc/passwd").status == 126
    # Python ignores SIGPIPE; what it starts must not.
    assert here.ok("sparc run grep SigIgn /proc/self/status").split()[1].strip("0") == ""
    assert here.json("sparc list --json")["processes"] == []


def test_members_of_the_group_have_their_own_processes_only(here: _Guest) -> None:
    here.ok(
        "groupadd -f sparc; for u in member stranger; do id $u >/dev/null 2>&1 || useradd $u; done;"
        "usermod -aG sparc member"
    )
    here.control("restart")
    pid = here.start("sleep 1004")
    own = here.start("su member -c 'exec sleep 1005'")
    time.sleep(1)
    own = int(here.ok("pgrep -u member -x sleep"))
    denied = here.sh(f"su member -c 'sparc exclude {pid}'")
    assert denied.status == 2 and b"belongs to another user" in denied.stderr
    assert here.ok(f"su member -c '/usr/local/bin/sparc exclude {own}'") == f"{own} sleep: excluded"
    stranger = here.sh("su stranger -c '/usr/local/bin/sparc list'")
    assert stranger.status == 2 and b"group sparc" in stranger.stderr
    here.ok(f"sparc include {own}; kill {pid} {own}")


def test_each_place_is_as_closed_as_it_can_be(here: _Guest) -> None:
    here.checkpoint()
    told = here.ok("stat -c '%n %a %U:%G' /dev/sparc /run/sparc /run/sparc/*").splitlines()
    places = dict(line.split(" ", 1) for line in told)
    assert places.pop("/dev/sparc") == "600 root:root"
    assert places.pop("/run/sparc") == "755 root:root"
    assert places.pop("/run/sparc/guestd.sock") == "660 root:sparc"
    assert places and set(places.values()) == {"600 root:root"}, places
    if not here.systemd:
        assert here.ok("stat -c '%a %U:%G' /var/log/sparc-guestd.log").strip() == "600 root:root"
    denied = here.sh("su stranger -c 'exec 3<>/dev/sparc'")
    assert denied.status != 0 and b"Permission denied" in denied.stderr


def test_a_checkpoint_leaves_everybody_where_he_was(here: _Guest) -> None:
    pid = here.start("sleep 1006")
    other = here.start("sh -c 'while :; do sleep 0.05; done'")
    # In the root, where systemd leaves nobody.
    stray = here.start("sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs; exec sleep 1007'")
    time.sleep(1)
    here.ok(f"sparc exclude {pid}")
    here.checkpoint()
    before = here.groups()
    for _ in range(5):
        here.checkpoint()
    after = here.groups()
    assert {p: after.get(p) for p in map(str, (1, pid, other, stray))} == {
        p: before[p] for p in map(str, (1, pid, other, stray))
    }
    assert here.systemd == (after[str(stray)] == "0::/")
    status = here.json("sparc status --json")
    assert status["checkpoint"]["outcome"] == "resumed" and status["members"] == 1
    assert here.ok("cat /run/sparc/frozen; cat /sys/fs/cgroup/*/cgroup.freeze | sort -u") == "0"
    here.ok(f"sparc include {pid}; kill {pid} {other} {stray}")


def test_after_a_restore_it_is_told_who_was_killed(here: _Guest) -> None:
    pid, other = here.start("sleep 1008"), here.start("sleep 1009")
    here.ok(f"sparc exclude {pid}")
    here.restored()
    time.sleep(1)
    assert not here.lives(pid) and here.lives(other)
    status = here.json("sparc status --json")
    assert status["members"] == 0
    assert status["checkpoint"]["outcome"] == "restored"
    assert status["restore"]["killed"] == [{"pid": pid, "name": "sleep"}]
    assert f"ended: {pid} sleep" in here.ok("sparc status")
    log = "journalctl -u sparc-guestd" if here.systemd else "cat /var/log/sparc-guestd.log"
    assert f"sleep ({pid})" in here.ok(log)
    if here.ok("who"):
        assert f"sleep ({pid})" in here.ok("cat /dev/vcs1 /dev/vcs2").replace("\0", "")
    here.control("restart")
    assert here.json("sparc status --json")["restore"] == status["restore"]
    here.ok(f"kill {other}")


@pytest.fixture
def unfreezable(here: _Guest) -> Iterator[int]:
    """A process that waits in the kernel, and not for a signal."""
    here.ok(
        "mkdir -p /mnt/stuck && dd if=/dev/zero of=/root/stuck bs=1M count=8 status=none &&"
        "mke2fs -q -t ext4 /root/stuck && mount -o loop /root/stuck /mnt/stuck &&"
        "fsfreeze -f /mnt/stuck"
    )
    pid = here.start("touch /mnt/stuck/file")
    time.sleep(0.5)
    yield pid
    here.ok("fsfreeze -u /mnt/stuck; sleep 0.5; umount /mnt/stuck", _ANSWER_SECONDS)


def test_a_process_that_cannot_be_frozen_is_named(here: _Guest, unfreezable: int) -> None:
    keeper = here.start("sleep 1010")
    here.ok(f"sparc exclude {keeper}")
    here.host.ask(Request.PREPARE)
    status = here.host.await_state(State.PARKED, State.FAILED)
    assert (status.state, status.reason) == (State.FAILED, Reason.FREEZE)
    assert status.reason_pid == unfreezable and status.reason_comm.startswith(b"touch\0")
    assert f"({unfreezable} touch)" in here.ok("sparc status")
    here.ok(f"sparc include {keeper}; kill {keeper}")


def test_a_service_killed_while_all_are_frozen(here: _Guest, unfreezable: int) -> None:
    keeper = here.start("sleep 1011")
    stray = here.start("sh -c 'echo $$ >/sys/fs/cgroup/cgroup.procs; exec sleep 1012'")
    here.ok(f"sparc exclude {keeper}")
    service = here.json("sparc status --json")["pid"]
    killer = here.start(f"python3 /root/sigio.py {service} /run/armed")
    here.ok("until [ -e /run/armed ]; do sleep 0.1; done; rm /run/armed")
    here.host.ask(Request.PREPARE)
    time.sleep(1)
    assert here.host.status().state is State.PREPARING
    here.machine.agent.type_line("x")
    status = here.host.await_state(State.PARKED, State.FAILED)
    assert (status.state, status.reason) == (State.FAILED, Reason.NO_SERVICE)
    # That anything answers shows that it was thawed.
    assert here.ok("cat /sys/fs/cgroup/*/cgroup.freeze | sort -u", _ANSWER_SECONDS) == "0"
    assert here.sh(f"kill -0 {service}").status != 0
    if here.systemd:
        here.ok(
            f"until [ $(systemctl show -P MainPID sparc-guestd) -gt {service} ]; do sleep 0.1; done"
        )
        here.ok("until sparc status; do sleep 0.1; done")
        assert here.groups()[str(stray)] == "0::/"
    else:
        here.control("start")
    assert here.ok("cat /run/sparc/frozen") == ""
    status = here.json("sparc status --json")
    assert (status["pid"] != service, status["members"]) == (True, 1)
    here.ok(f"sparc include {keeper}; kill {keeper} {stray} {killer}")


def test_a_second_service_refuses_and_changes_nothing(here: _Guest) -> None:
    second = here.sh("sparc-guestd")
    assert second.status == 2 and b"another sparc-guestd is running" in second.stderr
    assert here.ok("sparc status")


def test_a_service_that_stops_leaves_no_trace(here: _Guest) -> None:
    pid = here.start("sleep 1013")
    here.ok(f"sparc exclude {pid}")
    here.checkpoint()
    here.control("stop")
    assert (
        here.ok("ls -d /sys/fs/cgroup/sparc-frozen /run/sparc/guestd.sock 2>/dev/null; true") == ""
    )
    assert here.lives(pid)
    here.control("start")
    assert [row["pid"] for row in here.json("sparc list --json")["processes"]] == [pid]
    here.ok(f"sparc include {pid}; kill {pid}")
    here.control("stop")
    assert here.ok("dmesg | grep -E 'WARNING|BUG|Oops|stall|hung task' || true") == ""
    here.ok("rmmod sparc")
