"""The service from its socket: a real one, with real clients, on a device that is none."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from guest.bench import Bench

from guest_service import commands, device
from guest_service import server as server_module
from guest_service.changes import Caller
from guest_service.client import ask
from guest_service.device import Counted, Event, Parked, Taken
from guest_service.protocol import MAX_REQUEST
from sparc import wire
from sparc.errors import GuestError
from sparc.wire import EventType, Kind, Outcome, Reason

_NOBODY = 65534


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait()


def test_exclude_list_include(bench: Bench, process: subprocess.Popen[bytes]) -> None:
    bench.device.taken = Taken(3, 1, 2, 4)
    reply = bench.ask("exclude", pids=[process.pid])
    assert reply["failed"] == []
    assert reply["done"] == [
        {
            "pid": process.pid,
            "name": "sleep",
            "program": "sleep",
            "uid": os.getuid(),
            "processes": 3,
            "sharers": 1,
            "swap_pages": 2,
            "shmem_pages": 4,
        }
    ]
    (entry,) = bench.ask("list")["processes"]
    assert entry["pid"] == process.pid and time.time() - entry["since"] < 60
    assert bench.ask("status")["members"] == 1
    assert bench.ask("include", pids=[process.pid])["failed"] == []
    assert bench.ask("list") == {"processes": []}
    (failed,) = bench.ask("include", pids=[process.pid])["failed"]
    assert failed["error"] == "not-excluded"


def test_who_is_included_with_another_is_done(
    bench: Bench, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    include = bench.device.include

    def including(pid: int) -> Taken:
        taken = include(pid)
        bench.device.excluded.clear()
        return taken

    monkeypatch.setattr(bench.device, "include", including)
    with subprocess.Popen(["sleep", "1000"]) as child:
        bench.ask("exclude", pids=[process.pid, child.pid])
        reply = bench.ask("include", pids=[process.pid, child.pid])
        child.kill()
    assert [entry["processes"] for entry in reply["done"]] == [1, 0]
    assert reply["failed"] == []


def test_who_cannot_be_excluded(bench: Bench) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    reply = bench.ask("exclude", pids=[1, 2, os.getpid(), gone.pid])
    failed = {entry["pid"]: entry["error"] for entry in reply["failed"]}
    expected = {1: "init", os.getpid(): "service", gone.pid: "no-process"}
    assert {pid: failed[pid] for pid in expected} == expected
    if Path("/proc/2/comm").read_text() == "kthreadd\n":
        assert failed[2] == "kernel-thread"
    assert bench.device.log == []


def test_the_others_are_excluded_all_the_same(
    bench: Bench, process: subprocess.Popen[bytes]
) -> None:
    reply = bench.ask("exclude", pids=[1, process.pid, process.pid])
    assert [entry["pid"] for entry in reply["done"]] == [process.pid]
    assert [entry["pid"] for entry in reply["failed"]] == [1]


def test_by_name_user_and_terminal(bench: Bench, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    program = tmp_path / "a program"
    program.symlink_to("/bin/sleep")
    named = subprocess.Popen(["sleep", "1000"], executable=str(program))
    theirs = subprocess.Popen(["sleep", "1000"], user=_NOBODY)
    try:
        # A process is called by what was executed, its program is what that is a link to.
        reply = bench.ask("exclude", names=["a program"])
        assert [entry["pid"] for entry in reply["done"]] == [named.pid]
        reply = bench.ask("exclude", uids=[_NOBODY])
        assert theirs.pid in [entry["pid"] for entry in reply["done"]]
        failed = bench.ask("exclude", names=["no such", "sleep"], ttys=[4_000_000])["failed"]
        assert [(f["error"], f["kind"], f["value"]) for f in failed] == [
            ("no-match", "tty", 4_000_000),
            ("no-match", "name", "no such"),
        ]
    finally:
        for process in (named, theirs):
            process.kill()
            process.wait()


def test_who_is_born_while_a_name_is_looked_for_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    exclude = bench.device.exclude

    def excluding(pid: int, flags: int = 0) -> Taken:
        if len(children) < 3:
            children.append(subprocess.Popen(["sleep", "4711"]))
        return exclude(pid)

    monkeypatch.setattr(bench.device, "exclude", excluding)
    children.append(subprocess.Popen(["sleep", "4711"]))
    try:
        bench.ask("exclude", names=["sleep"])
        assert {child.pid for child in children} <= set(bench.device.excluded)
        assert len(children) == 3
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_another_users_process_is_for_root_only(
    bench: Bench, process: subprocess.Popen[bytes]
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    theirs = subprocess.Popen(["sleep", "1000"], user=_NOBODY)
    time.sleep(0.2)
    try:
        somebody = Caller(theirs.pid, _NOBODY)
        request: dict[str, object] = {"command": "exclude", "pids": [theirs.pid, process.pid]}
        reply = cast(dict[str, Any], bench.commands.run(request, somebody))
        assert [entry["pid"] for entry in reply["done"]] == [theirs.pid]
        assert [entry["error"] for entry in reply["failed"]] == ["not-yours"]
        bench.ask("exclude", pids=[process.pid])
        request = {"command": "include", "pids": [process.pid]}
        reply = cast(dict[str, Any], bench.commands.run(request, somebody))
        assert [entry["error"] for entry in reply["failed"]] == ["not-yours"]
        assert process.pid in bench.device.excluded
    finally:
        theirs.kill()
        theirs.wait()


@pytest.mark.parametrize("uids", [(0, 9, 9, 9), (9, 0, 9, 9), (9, 9, 0, 9), (9, 9, 9, 0)])
def test_a_process_that_changed_its_user_is_not_the_users(uids: tuple[int, ...]) -> None:
    assert not Caller(1, 9).may(uids)
    assert Caller(1, 0).may(uids)
    assert Caller(1, 9).may((9, 9, 9, 9))


def test_oneself_is_who_the_kernel_says(bench: Bench) -> None:
    code = (
        "import sys; from guest_service.client import ask;"
        "print(ask({'command': 'exclude', 'self': True, 'pid': 1}, sys.argv[1])['done'][0]['pid'])"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code, bench.path],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    out, _ = client.communicate(timeout=60)
    assert out.split() == [str(client.pid).encode()]
    assert bench.device.log == [f"exclude {client.pid}"]


def test_init_that_is_just_starting_a_program_is_waited_for(
    bench: Bench, process: subprocess.Popen[bytes]
) -> None:
    bench.device.errors = [OSError(errno.EBUSY, "")] * 3
    assert bench.ask("exclude", pids=[process.pid])["failed"] == []
    bench.device.errors = [OSError(errno.EBUSY, "")] * 100
    (failed,) = bench.ask("exclude", pids=[process.pid])["failed"]
    assert failed["error"] == "shares"


def test_a_refusal_of_the_kernel_is_told(bench: Bench, process: subprocess.Popen[bytes]) -> None:
    bench.device.errors = [OSError(errno.ENOMEM, "")]
    (failed,) = bench.ask("exclude", pids=[process.pid])["failed"]
    assert (failed["error"], failed["errno"]) == ("system", errno.ENOMEM)


def test_one_that_dies_meanwhile_is_not_told_as_done(
    bench: Bench, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    exclude, include = bench.device.exclude, bench.device.include

    def dying(pid: int, flags: int = 0) -> Taken:
        process.kill()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return exclude(pid)

    monkeypatch.setattr(bench.device, "exclude", dying)
    (failed,) = bench.ask("exclude", pids=[process.pid])["failed"]
    assert failed["error"] == "no-process"
    # Who has its number now may not be let into checkpoints by mistake.
    other = subprocess.Popen(["sleep", "1000"])
    bench.device.excluded[other.pid] = b""

    def including(pid: int) -> Taken:
        other.kill()
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return include(pid)

    monkeypatch.setattr(bench.device, "exclude", exclude)
    monkeypatch.setattr(bench.device, "include", including)
    (failed,) = bench.ask("include", pids=[other.pid])["failed"]
    assert failed["error"] == "no-process"
    assert other.pid in bench.device.excluded
    other.wait()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"\n", "bad-request"),
        (b"[1]\n", "bad-request"),
        (b"\xff\xfe\n", "bad-request"),
        (b"[" * 60000 + b"\n", "bad-request"),
        (b'{"command": "exclude"}\n', "bad-request"),
        (b'{"command": "exclude", "pids": 5}\n', "bad-request"),
        (b'{"command": "exclude", "pids": [true]}\n', "bad-request"),
        (b'{"command": "exclude", "pids": [-5]}\n', "bad-request"),
        (b'{"command": "exclude", "pids": [1e99]}\n', "bad-request"),
        (b'{"command": "exclude", "names": [""]}\n', "bad-request"),
        (b'{"command": "exclude", "names": ["\\ud800"]}\n', "bad-request"),
        (b'{"command": "exclude", "ttys": [0]}\n', "bad-request"),
        (b'{"command": "exclude", "cgroups": ["a\\u0000b"]}\n', "bad-request"),
        (b'{"command": "close"}\n', "unknown-command"),
        (b'{"command": ["list"]}\n', "unknown-command"),
        (b"{}\n", "unknown-command"),
        (b"x" * (MAX_REQUEST + 1), "too-long"),
    ],
)
def test_requests_that_are_none(bench: Bench, line: bytes, error: str) -> None:
    with bench.connect() as connection:
        connection.sendall(line)
        assert json.loads(connection.makefile().readline())["error"] == error
    assert bench.device.log == []
    assert bench.ask("list") == {"processes": []}


def test_a_client_learns_why_nothing_was_done(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(GuestError) as raised:
        bench.ask("exclude")
    assert (raised.value.code, raised.value.fields) == ("bad-request", {"why": "nobody"})
    with pytest.raises(GuestError) as raised:
        ask({"command": "list"}, str(tmp_path / "none"))
    assert raised.value.code in ("no-module", "no-service")


def test_silent_slow_and_many_clients_stop_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = [bench.connect() for _ in range(100)]
    with bench.connect() as slow:
        for byte in b'{"command":"list"}\n':
            slow.sendall(bytes([byte]))
            assert bench.ask("status")["members"] == 0
        assert slow.recv(100) == b'{"processes":[]}\n'
    # The oldest were dropped for the newer ones.
    assert silent[0].recv(1) == b""
    assert len(bench.service._server._clients) <= server_module._CLIENTS
    for connection in silent:
        connection.close()


def test_silent_clients_are_dropped_in_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_SECONDS", 0.3)
    with bench.connect() as silent:
        started = time.monotonic()
        assert silent.recv(1) == b""
        assert 0.2 < time.monotonic() - started < 5


def test_a_reply_nobody_reads_is_dropped_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SECONDS", 0.3)
    bench.device.excluded = {10_000_000 + pid: b"x" * 15 for pid in range(10_000)}
    with bench.connect() as greedy:
        greedy.sendall(b'{"command":"list"}\n')
        assert bench.ask("status")["members"] == 10_000
        _wait(lambda: not bench.service._server._clients)
    assert len(bench.ask("list")["processes"]) == 10_000


def test_the_socket_is_for_root_and_the_group(bench: Bench) -> None:
    import grp

    try:
        group = grp.getgrnam("sparc").gr_gid
    except KeyError:
        assert Path(bench.path).stat().st_mode & 0o777 == 0o600
    else:
        assert Path(bench.path).stat().st_mode & 0o777 == 0o660
        assert Path(bench.path).stat().st_gid == group


def test_a_request_of_the_host_is_answered(bench: Bench) -> None:
    bench.device.parked = Parked(Outcome.RESTORED, killed=1)
    bench.device.killed = [Event(EventType.KILLED, 5, 99, b"gone")]
    bench.device.tell(Event(EventType.PREPARE, 5, 0, b""))
    _wait(lambda: bench.history.restore is not None)
    assert bench.device.log == ["freeze 2", "park 5", "thaw", "thawed"]
    status = bench.ask("status")
    assert status["checkpoint"]["outcome"] == "restored"
    assert status["restore"]["killed"] == [{"pid": 99, "name": "gone"}]


def test_a_request_that_was_given_up_before_is_not_answered(bench: Bench) -> None:
    bench.device.tell(
        Event(EventType.PREPARE, 5, 0, b""),
        Event(EventType.ABANDONED, 5, 0, b""),
        Event(EventType.PREPARE, 6, 0, b""),
    )
    _wait(lambda: "thawed" in bench.device.log)
    assert bench.device.log == ["freeze 2", "park 6", "thaw", "thawed"]


def _wait(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_would_be_kept_out_is_counted_but_not_each_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = bench.ask("count")
    assert nobody["kinds"] is None and nobody["reason"] == "none"
    assert "collect" not in bench.device.log
    bench.device.excluded[os.getpid()] = b"name"
    first = bench.ask("count")
    assert first["kinds"] == {
        "anon": {"pages": 512, "bytes": 0},
        "swap-cache": {"pages": 0, "bytes": 7},
    }
    assert (first["took_us"], first["reason"]) == (31_000, "none") and 0 <= first["age"] < 10
    assert bench.ask("count")["age"] >= first["age"]
    assert bench.device.log.count("collect") == 1
    monkeypatch.setattr(commands, "_COUNT_SECONDS", 0.0)
    monkeypatch.setattr(commands, "_COUNT_TIMES", 0)
    bench.commands._counted = None
    bench.ask("count")
    bench.ask("count")
    assert bench.device.log.count("collect") == 3


def test_one_that_takes_long_is_made_seldom(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.device.excluded[os.getpid()] = b"name"
    now = [1000.0]

    def slow() -> Counted:
        now[0] += 2.0
        bench.device.log.append("collect")
        return Counted({}, 2_000_000_000)

    monkeypatch.setattr(bench.device, "collect", slow)
    monkeypatch.setattr(commands, "time", SimpleNamespace(monotonic=lambda: now[0]))
    caller = Caller(os.getpid(), 0)
    for later, counts in ((0, 1), (20, 1), (70, 1), (20, 2)):
        now[0] += later
        bench.commands.run({"command": "count"}, caller)
        assert bench.device.log.count("collect") == counts


def test_a_count_that_failed_has_no_numbers(bench: Bench) -> None:
    bench.device.excluded[os.getpid()] = b"name"
    for reason, told in ((Reason.WRITE_BACK, "write-back"), (99, "99")):
        bench.commands._counted = None
        bench.device.counted = Counted({Kind.ANON: (1, 0)}, 5, reason, 77)
        reply = bench.ask("count")
        assert (reply["kinds"], reply["reason"], reply["pid"]) == (None, told, 77)


def test_a_count_as_the_module_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: dict[str, Any] = dict.fromkeys((name for name, _ in wire.COLLECT.fields), 0)
    pages, parts = [0] * wire.KINDS, [0] * wire.KINDS
    pages[Kind.ANON], parts[Kind.TTY], pages[Kind.FREE] = 12, 34, 56
    numbers |= {"collect_ns": 78, "reason": Reason.BUSY, "reason_pid": -1, "reserved2": 5}

    def ioctl(fd: int, request: int, room: bytearray) -> None:
        assert request == wire.IOC_COLLECT
        before = list(numbers.values())[:11]
        room[:] = wire.COLLECT.pack(*before, *pages, *parts, *list(numbers.values())[13:])

    monkeypatch.setattr("guest_service.device.fcntl.ioctl", ioctl)
    opened = device.Device.__new__(device.Device)
    opened.fd = -1
    found = opened.collect()
    assert found.kinds == {Kind.ANON: (12, 0), Kind.TTY: (0, 34), Kind.FREE: (56, 0)}
    assert (found.ns, found.reason, found.pid) == (78, Reason.BUSY, -1)
