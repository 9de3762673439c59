"""`sparc top` on a host: its VMs and their checkpoints."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from host.machines import FakeMachine, snapshot
from host.reporting import good_status, put_beside, written
from samples import write_state

from guest_service import client
from host_service import matching, status, virtualbox
from host_service.errors import HostError
from host_service.virtualbox import VirtualBoxError
from host_service.virtualbox.machine import State
from host_service.vm_socket import PackStatus, _parse
from sparc.cli.main import main

EVIL = "\x1b[2J\nclean\u202e"


class Host:
    """One with these VMs; in each, what its pack says."""

    def __init__(self) -> None:
        self.machines: list[FakeMachine] = []
        self.pack: PackStatus | HostError | None = _parse(json.dumps(good_status()).encode())

    def find(self, vm: str) -> FakeMachine:
        found = [machine for machine in self.machines if machine.name == vm]
        if not found:
            raise VirtualBoxError("there is no such VM", vm)
        return found[0]

    def ask(self, _: str) -> PackStatus | None:
        if isinstance(self.pack, HostError):
            raise self.pack
        return self.pack


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(client, "here", lambda: False)
    monkeypatch.setattr(virtualbox, "machines", lambda: host.machines)
    monkeypatch.setattr(virtualbox, "find", host.find)
    monkeypatch.setattr(virtualbox, "translated", lambda _: nullcontext())
    monkeypatch.setattr(status, "ask", host.ask)
    return host


def said(capsys: pytest.CaptureFixture[str], *options: str, ends: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(["top", *options])
    out, err = capsys.readouterr()
    assert int(end.value.code or 0) == ends
    return out if not ends else err


def cells(line: str) -> list[str]:
    return [cell for cell in line.split("  ") if cell]


def test_vms_and_their_checkpoints(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "two.sav"
    other.write_bytes(b"x" * 2048)
    host.machines = [
        FakeMachine(
            snapshot("a", state=written(tmp_path)),
            snapshot("b", "a", 5, other),
            snapshot("c", "b", 9),
            current="c",
        )
    ]
    out = said(capsys).splitlines()
    vm = next(line for line in out if line.startswith("victim  running"))
    assert [cell.strip() for cell in cells(vm)] == [
        *("victim", "running", "0.1.0, idle", "yes", "2", "strict", "3", "1")
    ]
    listed = [line for line in out if "snap " in line]
    assert [line.split("snap ")[1][0] for line in listed] == ["c", "b", "a"]
    assert "snap c *" in listed[0] and "no memory" in listed[0]
    assert "2 KiB" in listed[1] and "NOT CLEAN: there is no report" in listed[1]
    assert "clean; kept out: gpg-agent, bash" in listed[2] and "NOT" not in listed[2]
    (data,) = json.loads(said(capsys, "--json"))["vms"]
    assert data["vm"]["name"] == "victim" and data["pack"]["members"] == 2
    assert [entry["clean"] for entry in data["snapshots"]] == [True, False, False]
    assert data["problem"] is None and "last" not in data


def test_one_vm(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.machines = [FakeMachine(), FakeMachine()]
    host.machines[1].name = "other"
    assert "other" in said(capsys) and "other" not in said(capsys, "victim")
    assert "there is no such VM" in said(capsys, "third", ends=2)


def test_one_that_tells_nothing_hides_no_other(
    host: Host, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> Any:
        raise VirtualBoxError("the object is not ready", "broken")

    broken = FakeMachine()
    broken.name = "broken"
    monkeypatch.setattr(broken, "snapshots", refuse)
    monkeypatch.setattr("host_service.snapshots._PAUSE", 0)
    host.machines = [broken, FakeMachine(snapshot("a"))]
    host.pack = HostError("its pack does not answer")
    out = said(capsys)
    assert "snap a" in out and "broken: the object is not ready" in out
    assert "victim: its pack does not answer" in out


def test_no_vm_and_one_without_settings(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys) == "VirtualBox knows no VM of this user\n"
    host.machines = [FakeMachine()]
    host.machines[0].state = State.INACCESSIBLE
    out = said(capsys)
    assert "inaccessible" in out and "strict" not in out and "CHECKPOINT  " not in out


def test_names_cannot_steer_the_terminal(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.machines = [FakeMachine(snapshot("a", state=written(tmp_path), name=EVIL))]
    host.machines[0].name = EVIL
    host.pack = HostError(EVIL)
    assert all(line.isprintable() for line in said(capsys).splitlines())


def test_a_file_is_read_once_for_as_long_as_it_is_the_same(
    host: Host,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sparc.sav import mailbox

    read, find = [], mailbox.find_mailbox

    def counting(path: Path) -> bytes | None:
        read.append(path)
        return find(path)

    monkeypatch.setattr(mailbox, "find_mailbox", counting)
    matching._mailbox.cache_clear()
    state = written(tmp_path)
    host.machines = [FakeMachine(snapshot("a", state=state))]
    assert "clean; kept out" in said(capsys) and "clean; kept out" in said(capsys)
    assert read == [state]
    write_state(state, {})
    put_beside(state)
    assert "NOT CLEAN" in said(capsys) and read == [state, state]
