"""Rules applied: to who starts, by the kernel's word and by looking; and after a restore."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from guest.bench import Bench
from guest.fakes import FakeDevice, FakeFreezer

from guest_service import helper, processes
from guest_service import ruling as ruling_module
from guest_service.checkpoint import Checkpoints
from guest_service.commands import Commands
from guest_service.daemon import Service
from guest_service.device import Device, Event, Parked
from guest_service.freezer import Freezer
from guest_service.history import History
from guest_service.log import Log
from guest_service.ruling import Ruling
from guest_service.starts import Starts
from sparc.cli.status import text
from sparc.wire import EventType, Outcome, Reason

_CLOCK_NANOSLEEP = "230 "  # The number of the system call.
_PROGRAM = "sparc-test-4711"


class _Bench:
    """Rules over a device that is none. `files` are what the rules' files would say."""

    def __init__(self, folder: Path, *rules: dict[str, Any], heard: bool = True) -> None:
        self.device = FakeDevice()
        self.files = folder / "told.json"
        self.path = str(folder / "sock")
        self.tell(*rules)
        device = cast(Device, self.device)
        history = History(str(folder / "history"))
        self.poll = select.poll()
        self.commands = Commands(device, history, None)
        self.rules = self.commands.rules = Ruling(
            self.commands.apply,
            Log(),
            self.poll,
            load=lambda: json.loads(self.files.read_text()),
            stamp=lambda: self.files.stat().st_mtime_ns,
            listen=Starts if heard else _deaf,
        )
        self.freezer = FakeFreezer(self.device.log)
        self.checkpoints = Checkpoints(
            device, cast(Freezer, self.freezer), history, Log(), 2.0, None, self.rules
        )
        self.service = Service(
            device, self.checkpoints, self.commands, self.path, self.rules, self.poll
        )
        self.thread = threading.Thread(target=self.service.run)

    def tell(self, *rules: dict[str, Any], problems: tuple[dict[str, Any], ...] = ()) -> None:
        told = [
            {"path": "/rules", "number": number, "owner": 0, **rule}
            for number, rule in enumerate(rules, 1)
        ]
        self.files.write_text(json.dumps({"rules": told, "problems": problems, "users": 0}))

    def start(self) -> None:
        self.rules.begin()
        self.thread.start()

    def close(self) -> None:
        if self.thread.is_alive():
            self.service.stop()
            self.thread.join(10)
        self.service.close()
        self.rules.close()
        self.device.close()


def _deaf() -> Starts:
    raise PermissionError(1, "not here")


@pytest.fixture(params=[True, False], ids=["heard", "looked for"])
def heard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        try:
            Starts().close()
        except OSError as error:
            pytest.skip(f"this kernel does not tell of programs: {error}")
    monkeypatch.setattr(ruling_module, "_SCAN_ALONE", 0.2)
    return bool(request.param)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / _PROGRAM
    path.write_bytes(Path("/bin/sleep").read_bytes())
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def running(*argv: str | Path, **other: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([str(word) for word in argv], **other)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def opened(folder: Path, *rules: dict[str, Any], heard: bool) -> Iterator[_Bench]:
    bench = _Bench(folder, *rules, heard=heard)
    try:
        yield bench
    finally:
        bench.close()


def wait(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_who_starts_and_who_runs_already(tmp_path: Path, program: Path, heard: bool) -> None:
    with (
        running(program, "1000") as early,
        opened(tmp_path, {"executable": [_PROGRAM], "display": True}, heard=heard) as bench,
    ):
        bench.start()
        # Before the service is said to be up.
        assert early.pid in bench.device.excluded
        with running("/bin/sleep", "1000") as other, running(program, "1000") as late:
            wait(lambda: late.pid in bench.device.excluded)
            assert other.pid not in bench.device.excluded
            assert bench.device.flags
            # Applied once.
            assert bench.device.log.count(f"exclude {late.pid} flags 4") == 1


def test_who_becomes_another_program(tmp_path: Path, program: Path, heard: bool) -> None:
    with opened(tmp_path, {"executable": [_PROGRAM]}, heard=heard) as bench:
        bench.start()
        script = f"read x; exec {program} 1000"
        with running("/bin/sh", "-c", script, stdin=subprocess.PIPE) as shell:
            time.sleep(0.5)
            assert shell.pid not in bench.device.excluded
            assert shell.stdin
            shell.stdin.write(b"\n")
            shell.stdin.flush()
            wait(lambda: shell.pid in bench.device.excluded)


def test_who_is_included_stays_so(tmp_path: Path, program: Path, heard: bool) -> None:
    with opened(tmp_path, {"executable": [_PROGRAM]}, heard=heard) as bench:
        bench.start()
        with running(program, "1000") as process:
            wait(lambda: process.pid in bench.device.excluded)
            del bench.device.excluded[process.pid]
            bench.rules._scan_at = 0.0
            time.sleep(0.6)
            assert process.pid not in bench.device.excluded


def test_who_is_moved_to_another_group_after_its_start(
    tmp_path: Path, program: Path, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = "/"

    monkeypatch.setattr(processes, "cgroup_of", lambda pid: group)
    with opened(tmp_path, {"unit": ["x.scope"], "executable": [_PROGRAM]}, heard=heard) as bench:
        bench.start()
        with running(program, "1000") as process:
            time.sleep(0.3)
            assert process.pid not in bench.device.excluded
            group = "/user.slice/x.scope"
            wait(lambda: process.pid in bench.device.excluded)


def test_a_users_rule_takes_only_theirs(tmp_path: Path, program: Path, heard: bool) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    rules = {"executable": [_PROGRAM], "owner": 65534}
    with opened(tmp_path, rules, heard=heard) as bench:
        bench.start()
        with running(program, "1000") as mine, running(program, "1000", user=65534) as theirs:
            wait(lambda: theirs.pid in bench.device.excluded)
            assert mine.pid not in bench.device.excluded


def test_files_that_change_are_read_again(
    tmp_path: Path, program: Path, heard: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path, heard=heard) as bench, running(program, "1000") as process:
        bench.start()
        assert bench.device.excluded == {}
        problem = {"path": "/r.toml", "owner": 0, "key": "exe", "why": "is not known"}
        bench.tell({"executable": [_PROGRAM]}, problems=(problem,))
        bench.service.reload()
        wait(lambda: process.pid in bench.device.excluded)
        assert "/r.toml: exe: is not known" in capfd.readouterr().err
        assert bench.rules.status(0) == {
            "count": 1,
            "problems": [problem],
            "told_by": "kernel" if heard else "scan",
        }
        bench.tell()
        bench.service.reload()
        wait(lambda: not bench.rules.rules)
        assert bench.rules.status(0) == {"count": 0, "problems": [], "told_by": None}


def test_a_user_sees_the_systems_and_their_own(tmp_path: Path) -> None:
    rules: tuple[dict[str, Any], ...] = tuple({"owner": uid, "unit": ["none"]} for uid in (0, 5, 6))
    with opened(tmp_path, heard=False) as bench:
        problems = tuple({"path": "/p", "owner": uid, "key": "", "why": ""} for uid in (0, 5, 6))
        bench.tell(*rules, problems=problems)
        bench.rules.begin()
        counts = {}
        for uid in (0, 5, 7):
            told: Any = bench.rules.status(uid)
            counts[uid] = (told["count"], len(told["problems"]))
        assert counts == {0: (3, 3), 5: (2, 2), 7: (1, 1)}


def test_a_failure_is_told_once(
    tmp_path: Path, program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(tmp_path, {"executable": [_PROGRAM]}, heard=False) as bench:
        bench.device.errors = [OSError(12, "no memory")] * 5
        with running(program, "1000") as one, running(program, "1000") as other:
            bench.rules.begin()
            for _ in range(5):
                bench.rules._scan()
            assert {one.pid, other.pid} <= set(bench.device.excluded)
    told = capfd.readouterr().err
    assert told.count("is not excluded: system") == 1 and "/rules, rule 1" in told


def _sleeps(pid: int) -> bool:
    """Whether sleep(1) has come so far: by then its start has been told, as when it is frozen."""
    return Path(f"/proc/{pid}/syscall").read_text().startswith(_CLOCK_NANOSLEEP)


def test_before_a_checkpoint_and_when_all_stand_still(
    tmp_path: Path, program: Path, heard: bool
) -> None:
    with (
        opened(tmp_path, {"executable": [_PROGRAM]}, heard=heard) as bench,
        contextlib.ExitStack() as stack,
    ):
        bench.rules.begin()
        first = stack.enter_context(running(program, "1000"))
        wait(lambda: _sleeps(first.pid))
        late: list[int] = []

        def freeze(seconds: float) -> None:
            bench.device.log.append("freeze")
            late.append(stack.enter_context(running(program, "1000")).pid)
            wait(lambda: _sleeps(late[0]))

        bench.freezer.freeze = freeze  # type: ignore[method-assign]
        bench.checkpoints.prepare(1)
        assert bench.device.log == [
            f"exclude {first.pid}",
            "freeze",
            f"exclude {late[0]}",
            "park 1",
            "thaw",
            "thawed",
        ]


def test_where_rules_were_not_applied_there_is_no_checkpoint(
    tmp_path: Path, program: Path, heard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(bench: _Bench, sequence: int) -> bool:
        bench.device.log.clear()
        bench.checkpoints.prepare(sequence)
        assert bench.device.log[-2:] == ["thaw", "thawed"]
        return f"park {sequence}" in bench.device.log

    rule = {"executable": [_PROGRAM], "command": ["*1000"]}
    with opened(tmp_path, rule, heard=heard) as bench, running(program, "1000") as process:
        assert not attempt(bench, 1)  # not read yet
        bench.device.errors = [OSError(12, "no memory")] * 4
        bench.rules.begin()
        assert process.pid not in bench.device.excluded
        assert not attempt(bench, 2)
        assert attempt(bench, 3) and process.pid in bench.device.excluded
        # Whether one is meant cannot be told.
        bench.rules._done.clear()
        with monkeypatch.context() as patch:
            patch.setattr(ruling_module, "_COMPARE", 0.1)
            patch.setattr("guest_service.rules._command_fits", lambda *_: time.sleep(100))
            bench.rules._scan()
            assert not attempt(bench, 4)
        assert attempt(bench, 5)
        # It takes too long, with everybody frozen.
        with monkeypatch.context() as patch:
            patch.setattr(ruling_module, "_FROZEN", -1.0)
            late = (process.pid, 0)
            patch.setattr(bench.freezer, "freeze", lambda _: bench.rules._unsure.add(late))
            assert not attempt(bench, 6)
        assert attempt(bench, 7)

        def broken(*_: object, **__: object) -> dict[Any, Any]:
            raise ValueError("secret-4711")

        with monkeypatch.context() as patch:
            patch.setattr(bench.rules, "_scan", broken)
            patch.setattr(bench.rules, "_consider", broken)
            assert not attempt(bench, 8)
        process.kill()
        process.wait()
        bench.rules._unsure.add((process.pid, 0))
        assert attempt(bench, 9)


@pytest.mark.parametrize(
    ("cgroup", "owner", "expected"),
    [
        ("/system.slice/v.service", 0, "--no-block restart -- v.service"),
        (
            "/user.slice/user-5.slice/user@5.service/app.slice/v.service",
            5,
            "--no-block --user --machine=5@.host restart -- v.service",
        ),
        # A user's rule does not restart what the system's manager has.
        ("/system.slice/v.service", 5, None),
        ("/user.slice/user-5.slice/session-1.scope", 0, None),
    ],
)
def test_after_a_restore_services_are_started_afresh(
    tmp_path: Path,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    cgroup: str,
    owner: int,
    expected: str | None,
) -> None:
    if owner and os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    noted = tmp_path / "noted"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >>{noted}\n')
    systemctl.chmod(0o755)
    monkeypatch.setattr(ruling_module, "_SYSTEMCTL", (str(systemctl),))
    monkeypatch.setattr(processes, "cgroup_of", lambda pid: cgroup)
    rule = {"executable": [_PROGRAM], "restart": True, "owner": owner}
    user = {"user": owner} if owner else {}
    with (
        opened(tmp_path, rule, heard=False) as bench,
        running(program, "1000", **user) as one,
        running(program, "1000", **user) as other,
    ):
        bench.start()
        pids = [one.pid, other.pid]
        assert set(pids) <= set(bench.device.excluded)
        bench.device.parked = Parked(Outcome.RESTORED, Reason.NONE, killed=2)
        bench.device.killed = [Event(EventType.KILLED, 5, pid, b"x") for pid in pids]
        bench.device.tell(Event(EventType.PREPARE, 5, 0, b""))
        if expected is None:
            wait(lambda: "thawed" in bench.device.log)
            time.sleep(0.3)
            assert not noted.exists()
        else:
            wait(lambda: noted.exists() and noted.read_text())
            # Both were of it.
            assert noted.read_text() == f"{expected}\n"


def test_arguments_are_read_by_a_child(
    tmp_path: Path, program: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = {"executable": [_PROGRAM], "command": ["*1000"]}
    with opened(tmp_path, rule, heard=False) as bench, running(program, "1000") as process:
        asked: list[int] = []
        run = helper.run

        def apart(work: Any, seconds: float) -> object:
            asked.append(os.getpid())
            return run(work, seconds)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(helper, "run", apart)
            bench.rules.begin()
        # For others, not even that: the rest of the rule does not fit them.
        assert process.pid in bench.device.excluded and asked == [os.getpid()]
    # One whose arguments lie where reading takes for ever.
    with opened(tmp_path, rule, heard=False) as bench, running(program, "1000") as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ruling_module, "_COMPARE", 0.1)
            patch.setattr("guest_service.rules._command_fits", lambda *_: time.sleep(100))
            started = time.monotonic()
            bench.rules.begin()
            for _ in range(20):
                bench.rules._scan()
        assert bench.device.excluded == {} and time.monotonic() - started < 10
    assert capfd.readouterr().err.count("arguments cannot be read: late") == 1


def test_no_child_can_be_made(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "no more processes")

    monkeypatch.setattr(processes, "cgroup_of", lambda pid: f"/docker/{'a' * 64}")
    rules = ({"executable": [_PROGRAM], key: ["*"]} for key in ("container", "command"))
    with opened(tmp_path, *rules, heard=False) as bench, running(program, "1000") as process:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fork", full)
            bench.rules.begin()
            assert bench.rules.rules == []
        bench.rules._load_at = 0.0
        with monkeypatch.context() as patch:
            bench.rules.begin()
            bench.device.excluded.clear()
            bench.rules._done.clear()
            bench.rules._names.clear()
            patch.setattr(os, "fork", full)
            bench.rules._scan()
            assert bench.device.excluded == {}
        # What could not be had is asked for again, after a while.
        bench.rules._names_at = 0.0
        monkeypatch.setattr("guest_service.containers.name_of", lambda id: "vault")
        bench.rules._scan()
        assert process.pid in bench.device.excluded


def test_a_burst_loses_nobody(tmp_path: Path, program: Path) -> None:
    try:
        starts = Starts()
    except OSError as error:
        pytest.skip(f"this kernel does not tell of programs: {error}")
    starts.close()
    with opened(tmp_path, {"executable": [_PROGRAM]}, heard=True) as bench:
        bench.rules.begin()
        with contextlib.ExitStack() as stack:
            pids = [stack.enter_context(running(program, "1000")).pid for _ in range(20)]
            assert bench.rules._starts
            # As if the kernel had dropped all that waits.
            bench.rules._starts.pids()
            bench.rules._starts.lost = True
            bench.rules.look()
            assert set(pids) <= set(bench.device.excluded)


def test_status_tells_of_rules(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    try:
        assert bench.ask("status")["rules"] is None
    finally:
        bench.close()


def test_the_service_reads_them_again_at_sighup(tmp_path: Path) -> None:
    """In a process of its own: handlers are for the main thread."""
    code = (
        "import sys, signal, os; sys.path[:0] = ['.', 'tests/unit']\n"
        "from pathlib import Path; from guest.test_ruling import _Bench\n"
        f"bench = _Bench(Path({str(tmp_path)!r}), heard=False)\n"
        "bench.rules.begin()\n"
        "def hup(*_):\n"
        "    bench.tell({'unit': ['none']}); bench.service.reload()\n"
        "signal.signal(signal.SIGHUP, hup)\n"
        "signal.signal(signal.SIGTERM, lambda *_: bench.service.stop())\n"
        "print('up', flush=True)\n"
        "bench.service.run()\n"
        "print(len(bench.rules.rules))\n"
        "bench.close()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout and run.stdout.readline() == "up\n"
        run.send_signal(signal.SIGHUP)
        time.sleep(1)
        run.send_signal(signal.SIGTERM)
        assert run.stdout.read() == "1\n"
        assert run.wait(20) == 0


def test_status_in_words() -> None:
    told: dict[str, Any] = {
        "abi": 2,
        "pid": 9,
        "since": 0,
        "members": 0,
        "memory_only": 0,
        "display": False,
        "checkpoint": None,
        "restore": None,
    }
    assert "Rules" not in text(told)
    problem = {"path": "/r\x1b.toml", "owner": 0, "key": "exe", "why": "is not known"}
    told["rules"] = {"count": 2, "problems": [problem], "told_by": "scan"}
    lines = [line.strip() for line in text(told).splitlines()]
    assert any(line.startswith("Rules       2 rules; found every other") for line in lines)
    assert "/r\\x1b.toml: exe: is not known" in lines
