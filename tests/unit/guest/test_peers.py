"""Peers: who is critical, whom one leads to, what is sent along with a request, and the words."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from guest.bench import Bench

from guest_service import critical, helper, peers, processes, sockets
from guest_service.changes import Caller
from sparc import wire
from sparc.cli.main import main

_NOBODY = 65534


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path)

    def ask(request: dict[str, Any], files: tuple[int, ...] = ()) -> dict[str, Any]:
        return bench.ask(files=files, **request)

    monkeypatch.setattr("guest_service.client.ask", ask)
    monkeypatch.setattr("guest_service.client.here", lambda: True)
    yield bench
    bench.close()


class _Chain:
    """sleep A, B and C: A and B share a fifo, B and C another one; C and a dbus-daemon a third."""

    def __init__(self, folder: Path) -> None:
        fifos = [folder / name for name in "abc"]
        for path in fifos:
            os.mkfifo(path)
        self.ends = [os.open(path, os.O_RDWR) for path in fifos]
        bus = folder / "dbus-daemon"
        shutil.copy("/bin/sleep", bus)
        self.processes = [
            self._start("/bin/sleep", 0, user=_NOBODY if os.getuid() == 0 else None),
            self._start("/bin/sleep", 0, 1),
            self._start("/bin/sleep", 1, 2),
            self._start(str(bus), 2),
        ]
        for end in self.ends:
            os.close(end)
        self.pids = [process.pid for process in self.processes]

    def _start(self, program: str, *ends: int, user: int | None = None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [program, "1000"],
            pass_fds=[self.ends[end] for end in ends],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=user,
        )

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[_Chain]:
    chain = _Chain(tmp_path)
    yield chain
    chain.close()


def test_peers_of_peers_but_not_what_the_system_needs(chain: _Chain, bench: Bench) -> None:
    a, b, c, bus = chain.pids
    reply = bench.ask("exclude", pids=[a], peers=True, display=True)
    assert [entry["pid"] for entry in reply["done"]] == [a, b, c]
    assert [(entry["pid"], entry["why"]) for entry in reply["left"]] == [(bus, "bus")]
    ways = [(way["pid"], way["kind"]) for way in reply["done"][1]["through"]]
    assert ways == [(a, "pipe")]
    assert bench.device.log == [f"exclude {pid} flags {wire.WITH_DISPLAY}" for pid in (a, b, c)]
    (entry,) = bench.ask("peers")["peers"]
    assert (entry["pid"], entry["critical"]) == (bus, "bus")


def test_not_the_callers_own_session(chain: _Chain) -> None:
    a, b, c, bus = chain.pids
    fifo = Path(f"/proc/{a}/fd/{chain.ends[0]}").readlink()
    end = os.open(fifo, os.O_RDWR)
    shell = subprocess.Popen(["sleep", "1000"], pass_fds=[end], start_new_session=True)
    os.close(end)
    try:
        told = cast(dict[str, Any], peers.closure([a], [a], Caller(shell.pid, 0), 0))
        assert [entry["pid"] for entry in told["take"]] == [b, c]
        # With a child of its own asking, it is the session.
        caller = Caller(os.getpid(), 0)
        told = cast(dict[str, Any], peers.closure([shell.pid], [shell.pid], caller, 0))
        assert {entry["pid"] for entry in told["take"]} == {a, b, c}
        end = os.open(fifo, os.O_RDWR)
        told = cast(dict[str, Any], peers.closure([a], [a], caller, 0))
        os.close(end)
        left = {entry["pid"]: entry["why"] for entry in told["left"]}
        assert left == {bus: "bus"} and os.getpid() not in left
        child = subprocess.Popen(["sleep", "1000"])
        end = os.open(fifo, os.O_RDWR)
        told = cast(dict[str, Any], peers.closure([a], [a], Caller(child.pid, 0), 0))
        os.close(end)
        child.kill()
        child.wait()
        assert {e["pid"]: e["why"] for e in told["left"]}[os.getpid()] == "session"
    finally:
        shell.kill()
        shell.wait()


def test_another_users_peers_are_told_but_not_taken(chain: _Chain) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    a, b, *_ = chain.pids
    told = cast(dict[str, Any], peers.closure([a, b], [a, b], Caller(1, _NOBODY), 0))
    assert (told["take"], told["left"]) == ([], [])
    told = cast(dict[str, Any], peers.closure([a], [a], Caller(1, _NOBODY), 0))
    assert told["take"] == []
    assert [(entry["pid"], entry["why"]) for entry in told["left"]] == [(b, "not-yours")]


@pytest.mark.parametrize(
    ("program", "parent", "expected"),
    [
        ("sshd", 1, "login"),
        ("sshd", 5, None),
        ("systemd-journald", 1, "system"),
        ("Xorg", 5, "display"),
        ("bash", 1, None),
    ],
)
def test_critical(
    monkeypatch: pytest.MonkeyPatch, program: str, parent: int, expected: str | None
) -> None:
    line = b"77 (any) S %d 77 77 0 0 0" % parent + b" 0" * 40
    monkeypatch.setattr(processes, "program_of", lambda pid: program.encode())
    assert critical.why(processes.Process(line), 9) == expected
    assert critical.why(processes.Process(line), 77) == "service"


def test_both_ends_of_connections_are_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        accepted, _ = server.accept()
        ends = [os.fstat(end.fileno()).st_ino for end in (client, accepted)]
        found = sockets.inet(os.getpid())
        assert found[ends[0]][0] == [ends[1], ends[1]] or ends[1] in found[ends[0]][0]
        assert ends[0] in found[ends[1]][0]
        assert os.fstat(server.fileno()).st_ino not in found
        accepted.close()


def test_files_come_along_and_are_closed(bench: Bench, tmp_path: Path, chain: _Chain) -> None:
    path = tmp_path / "kept"
    path.write_text("x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    fd = os.open(path, os.O_RDONLY)
    bench.ask("exclude", files=[fd, fd], pids=[chain.pids[0]])
    kept = f"keep {path.stat().st_ino}"
    assert bench.device.log == [kept, kept, f"exclude {chain.pids[0]}"]
    bench.device.log.clear()
    writing, folder = os.open(path, os.O_WRONLY), os.open(tmp_path, os.O_RDONLY)
    naming = os.open(path, os.O_PATH)
    for wrong in (writing, folder, naming):
        with pytest.raises(Exception, match="bad-request"):
            bench.ask("exclude", files=[fd, wrong], pids=[chain.pids[0]])
    with pytest.raises(Exception, match="connection"):
        bench.ask("exclude", files=[fd] * 40, pids=[chain.pids[0]])
    assert bench.device.log == []
    for opened in (fd, writing, folder, naming):
        os.close(opened)
    assert bench.ask("list")
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_what_is_printed(
    bench: Bench, chain: _Chain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        return int(end.value.code or 0), *capfd.readouterr()

    a, b, c, bus = (str(pid) for pid in chain.pids)
    status, out, err = run("exclude", "--with-peers", "--memory-only", a)
    assert status == 0
    assert f"{b} sleep: excluded, as a peer: pipe {tmp_path}/a with {a}" in out
    assert f"{bus} dbus-daemon: left out: the system needs it" in err
    assert "stays in checkpoints" in err
    _, out, _ = run("list")
    assert out.splitlines()[1].endswith("memory-only")
    _, out, _ = run("list", "--peers")
    assert f"bus       pipe {tmp_path}/c with {c}" in out
    _, out, _ = run("list", "--peers", "--json")
    assert json.loads(out)["peers"][0]["told"] == f"pipe {tmp_path}/c with {c}"
    _, out, _ = run("status")
    assert "3 processes, 3 of them memory-only" in out
    status, _, err = run("exclude", a, "--keep-file", str(tmp_path / "none"))
    assert status == 2 and "cannot be opened: No such file" in err
    status, _, err = run("exclude", a, "--keep-file", str(tmp_path))
    assert status == 2 and "cannot be opened: not a regular file" in err


def test_names_of_processes_are_not_in_the_services_memory(chain: _Chain, tmp_path: Path) -> None:
    told = helper.run(lambda: peers.around([chain.pids[0]], 0, []), 60)
    assert str(tmp_path) not in json.dumps(told)
