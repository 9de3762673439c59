"""Who shares what with an excluded process, and taking them in, under every kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sparc_lab import Lab, QemuMachine

from tests.guest.served import Served

_PAIRS = Path(__file__).parent / "programs" / "pairs.py"
_SHARED = {
    "pipe": "pipe",
    "fifo": "pipe",
    "stream": "unix",
    "named": "unix",
    "datagram": "unix",
    "tcp": "network",
    "mapped_tcp": "network",
    "udp": "network",
    "terminal": "terminal",
    "memfd": "memory",
    "anonymous": "memory",
    "posix": "memory",
    "sysv": "memory",
    "written": "file",
    "mapped": "file",
}
_NOBODY = "setpriv --reuid 65534 --regid sparc --clear-groups"


@pytest.fixture(scope="module")
def here(lab: Lab, guest: QemuMachine, kernel: str) -> Served:
    here = Served(lab, guest, kernel)
    guest.put(_PAIRS, "/root/pairs.py")
    return here


@pytest.fixture(autouse=True)
def ended(here: Served) -> Iterator[None]:
    yield
    here.ok("pkill -9 -f '[p]airs.py'; pkill -9 -x sleep; pkill -9 -f '[d]bus-daemon 9'; true")
    here.ok("sleep 0.3")
    assert here.json("sparc list --json")["processes"] == []


def test_both_sides_see_each_other(here: Served, kernel: str) -> None:
    # The lab's own kernel has no unix_diag.
    unix = kernel != "lab"
    wanted = {name: kind for name, kind in _SHARED.items() if unix or kind != "unix"}
    pairs = here.json(f"python3 /root/pairs.py {','.join(wanted)},read")
    for side in (0, 1):
        here.ok(f"sparc exclude {' '.join(str(pair[side]) for pair in pairs.values())}")
        told = here.json("sparc list --peers --json")
        found = {entry["pid"]: entry for entry in told["peers"]}
        assert told["incomplete"] is not unix
        for name, kind in wanted.items():
            assert pairs[name][1 - side] in found, (name, side)
            entry = found[pairs[name][1 - side]]
            ways = {(way["pid"], way["kind"]) for way in entry["through"]}
            assert ways == {(pairs[name][side], kind)}, name
        assert set(found) == {pairs[name][1 - side] for name in wanted}
        here.ok(f"sparc include {' '.join(str(pair[side]) for pair in pairs.values())}")


def test_names_of_what_is_shared(here: Served) -> None:
    pairs = here.json("python3 /root/pairs.py written,mapped,terminal,tcp")
    here.ok(f"sparc exclude {' '.join(str(one) for one, _ in pairs.values())}")
    table = {line.split()[0]: line for line in here.ok("sparc list --peers").splitlines()}
    for name, words in {
        "written": "file /root/",
        "mapped": "file /root/",
        "terminal": "terminal pts/",
        "tcp": "connection tcp 127.0.0.1:",
    }.items():
        one, two = pairs[name]
        assert words in table[str(two)] and f"with {one}" in table[str(two)]


def test_with_peers_to_a_fixed_point_but_for_what_the_system_needs(here: Served) -> None:
    pids = here.ok(
        "cp /bin/sleep /root/dbus-daemon; mkfifo /root/a /root/b /root/c 2>/dev/null\n"
        "setsid sleep 901 <>/root/a >/dev/null 2>&1 & one=$!\n"
        "setsid sleep 902 <>/root/a 3<>/root/b >/dev/null 2>&1 & two=$!\n"
        "setsid sleep 903 <>/root/b 3<>/root/c >/dev/null 2>&1 & three=$!\n"
        "setsid /root/dbus-daemon 904 <>/root/c >/dev/null 2>&1 & bus=$!\n"
        f"setsid {_NOBODY} sleep 905 <>/root/c >/dev/null 2>&1 & other=$!\n"
        "sleep 1; echo $one $two $three $bus $other"
    )
    one, two, three, bus, other = (int(pid) for pid in pids.split())
    # The shell that asks is a peer too; it is not taken along unasked.
    told = here.json(f"exec 9<>/root/a; sparc exclude --with-peers {one} --json; :")
    assert [entry["pid"] for entry in told["done"]] == [one, two, three, other]
    left = {entry["pid"]: entry["why"] for entry in told["left"]}
    assert left.pop(bus) == "bus"
    assert set(left.values()) == {"session"}
    assert told["failed"] == [] and "through" in told["done"][1]
    again = here.sh(f"sparc exclude --with-peers {one}")
    assert b"dbus-daemon: left out: the system needs it" in again.stderr


def test_a_user_takes_in_his_own_alone(here: Served) -> None:
    pids = here.ok(
        "rm -f /run/p; mkfifo -m 666 /run/p\n"
        f"setsid {_NOBODY} sleep 911 <>/run/p >/dev/null 2>&1 & one=$!\n"
        f"setsid {_NOBODY} sleep 912 <>/run/p >/dev/null 2>&1 & two=$!\n"
        "setsid sleep 913 <>/run/p >/dev/null 2>&1 & roots=$!\n"
        "sleep 1; echo $one $two $roots"
    )
    one, two, roots = (int(pid) for pid in pids.split())
    told = here.json(f"{_NOBODY} sparc exclude --with-peers {one} --json </dev/null 2>/dev/null")
    assert [entry["pid"] for entry in told["done"]] == [one, two]
    assert [(entry["pid"], entry["why"]) for entry in told["left"]] == [(roots, "not-yours")]
    # Peers of others' processes are not for him.
    here.ok(f"sparc include {one} {two}; sparc exclude {roots}")
    assert here.json(f"{_NOBODY} sparc list --peers --json")["peers"] == []


def test_a_terminal_with_who_holds_its_other_end(here: Served) -> None:
    script = here.start("script -qc 'sleep 921' /dev/null")
    sleep = int(here.ok("until pgrep -f '^sleep 921'; do sleep 0.1; done"))
    name = here.ok(f"readlink /proc/{sleep}/fd/1").removeprefix("/dev/")
    done = here.json(f"sparc exclude --tty {name} --json")["done"]
    assert {script, sleep} <= {entry["pid"] for entry in done}
    assert here.json(f"sparc include --tty {name} --json")["failed"] == []
    here.ok(f"kill -9 {script} {sleep}")


def test_a_file_is_kept_by_who_can_read_it(here: Served) -> None:
    pid = here.start(f"{_NOBODY} sleep 931")
    here.ok("sleep 0.5; echo x >/root/unread; chmod 600 /root/unread")
    refused = here.sh(f"{_NOBODY} sparc exclude {pid} --keep-file /root/unread")
    assert refused.status == 2 and b"cannot be opened" in refused.stderr
    assert here.sh(f"sparc exclude {pid} --keep-file /dev/null").status == 2
    assert here.json("sparc list --json")["processes"] == []
    here.ok(f"{_NOBODY} sparc exclude {pid} --keep-file /etc/passwd --keep-file /bin/sh")


def test_what_was_asked_for_is_shown(here: Served) -> None:
    one, two = here.start("sleep 941"), here.start("sleep 942")
    result = here.sh(f"sparc exclude {one} --memory-only")
    assert result.status == 0 and b"stays in checkpoints" in result.stderr
    here.ok(f"sparc exclude {two} --display")
    rows = {row["pid"]: row for row in here.json("sparc list --json")["processes"]}
    assert (rows[one]["memory_only"], rows[one]["display"]) == (True, False)
    assert (rows[two]["memory_only"], rows[two]["display"]) == (False, True)
    assert "1 of them memory-only, and the display" in here.ok("sparc status")
