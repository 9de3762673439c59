"""The tree of a VM's snapshots, and the line that goes into a snapshot's description."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest
from host.machines import FakeMachine, snapshot
from host.reporting import UUID, good_report, put_beside, written
from samples import write_state

from host_service import checkpoint, snapshots, virtualbox
from host_service.checkpoint import Checkpoint
from host_service.errors import HostError
from host_service.kept_out import summary, verdict_line
from host_service.reports import Report, parse
from host_service.status import last_checkpoint
from host_service.verdict import Verdict
from host_service.virtualbox import Machine, Snapshot, VirtualBoxError
from host_service.virtualbox.machine import State
from sparc.cli.main import main

EVIL = "\x1b[2J\nclean <b>\u202e"


def report(**other: Any) -> Report:
    return parse(json.dumps(good_report(**other)).encode())


def shown(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[list[str], dict[str, Any]]:
    """As text and as JSON, from the command line."""
    monkeypatch.setattr(virtualbox, "find", lambda vm: machine)
    said = []
    for words in (["list", "victim"], ["list", "victim", "--json"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert not end.value.code
        said.append(capsys.readouterr().out)
    return said[0].splitlines(), json.loads(said[1])


def test_a_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = written(tmp_path, kinds={"anon": {"pages": 512, "bytes": 0}, "free": FREE})
    other = tmp_path / "two.sav"
    other.write_bytes(b"x" * 2048)
    machine = FakeMachine(
        snapshot("d", "a", 9),
        snapshot("c", "b", 2, other),
        snapshot("b", "a", 1, state),
        snapshot("a"),
        current="c",
    )
    lines, data = shown(machine, monkeypatch, capsys)
    order = [entry["uuid"] for entry in data["snapshots"]]
    assert order == ["a", "b", "c", "d"]
    assert [line.index("snap") for line in lines if "snap " in line] == [4, 6, 8, 6]
    assert [line for line in lines if "* " in line] == [line for line in lines if "snap c" in line]
    first, second, third, _ = data["snapshots"]
    assert first["bytes"] is None and first["state_file"] is None
    assert second["clean"] and second["kept_out_bytes"] == 2 << 20
    assert second["free_bytes"] == 78 << 20 and second["parent"] == "a"
    assert (third["clean"], third["bytes"], third["current"]) == (False, 2048, True)
    text = "\n".join(lines)
    assert "clean; kept out: gpg-agent, bash (2 MiB, and 78 MiB of free memory)" in text
    assert "NOT CLEAN: there is no report" in text and "2 KiB" in text
    assert "taken while the VM was off" in text


FREE = {"pages": 78 << 8, "bytes": 0}


def test_what_a_saved_vm_goes_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = written(tmp_path)
    own = tmp_path / "own.sav"
    own.write_bytes(b"own")
    machine = FakeMachine(snapshot("a", state=state), current="a", own=own)
    lines, data = shown(machine, monkeypatch, capsys)
    assert data["own"]["state_file"] == str(own) and data["own"]["clean"] is False
    assert "    - saved state" in "\n".join(lines)
    # After a restore, it is the snapshot's.
    machine.state_file = state
    lines, data = shown(machine, monkeypatch, capsys)
    assert data["own"] is None and len(lines) == 3


def test_one_in_whose_place_there_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = written(tmp_path)
    machine = FakeMachine(snapshot("a", state=state))
    assert "clean; kept out" in "\n".join(shown(machine, monkeypatch, capsys)[0])
    write_state(state, {})
    put_beside(state)
    lines, data = shown(machine, monkeypatch, capsys)
    assert "NOT CLEAN: its report cannot be believed" in "\n".join(lines)
    entry = data["snapshots"][0]
    assert (entry["clean"], entry["report"], entry["kept_out_bytes"]) == (False, None, None)
    checkpoint = last_checkpoint(cast(Machine, machine))
    assert checkpoint is not None and not checkpoint.verdict.clean


def test_one_that_is_under_way_is_not_called_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "new.sav"
    state.write_bytes(b"")
    machine = FakeMachine(snapshot("a", state=state))
    machine.state = State.BUSY
    assert "VirtualBox is busy" in "\n".join(shown(machine, monkeypatch, capsys)[0])


class Answers(FakeMachine):
    """One that VirtualBox tells of only after so many refusals; its states come one by one."""

    def __init__(self, *taken: Snapshot, refusals: int, states: list[State]) -> None:
        self.states = states
        super().__init__(*taken)
        self.refusals = refusals

    @property
    def state(self) -> State:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    @state.setter
    def state(self, _: State) -> None:
        pass

    def snapshots(self) -> list[Snapshot]:
        if self.refusals:
            self.refusals -= 1
            raise VirtualBoxError("the object is not ready", "victim")
        return self.taken


@pytest.fixture
def untranslated(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no SDK whose errors could be translated, and no time to wait."""
    monkeypatch.setattr(virtualbox, "translated", lambda _: nullcontext())
    monkeypatch.setattr(snapshots, "_PAUSE", 0)


@pytest.mark.usefixtures("untranslated")
def test_while_one_is_being_saved_virtualbox_may_refuse_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for refusals, told in ((2, "- snap a"), (99, "  VirtualBox is busy")):
        machine = Answers(snapshot("a"), refusals=refusals, states=[State.BUSY])
        lines, data = shown(machine, monkeypatch, capsys)
        assert lines[0] == "victim (busy)" and any(told in line for line in lines)
        assert bool(data["problem"]) is (refusals == 99)
        assert "no snapshots" not in "\n".join(lines)


@pytest.mark.usefixtures("untranslated")
def test_a_save_that_begins_or_ends_meanwhile(tmp_path: Path) -> None:
    state = tmp_path / "new.sav"
    state.write_bytes(b"")
    for now in ([State.RUNNING, State.BUSY], [State.BUSY, State.RUNNING]):
        machine: Any = Answers(snapshot("a", state=state), refusals=0, states=[*now, now[-1]])
        found = snapshots.listing(machine)
        assert found.state is now[-1]
        assert ("is busy" in found.found[0].verdict.why) is (now[-1] is State.BUSY)
    for_ever = [State.RUNNING, State.BUSY] * 20
    machine = Answers(snapshot("a", state=state), refusals=0, states=for_ever)
    assert "is busy" in snapshots.listing(machine).found[0].verdict.why


@pytest.mark.usefixtures("untranslated")
def test_a_vm_that_tells_nothing_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Answers(refusals=99, states=[State.OFF])
    monkeypatch.setattr(virtualbox, "machines", lambda: [broken, FakeMachine(snapshot("a"))])
    assert snapshots.show(None, False) == 2
    told = capsys.readouterr().out
    assert "the object is not ready" in told and "- snap a" in told
    monkeypatch.setattr(virtualbox, "find", lambda vm: broken)
    with pytest.raises(HostError, match="not ready"):
        snapshots.show("victim", False)


def test_no_snapshots_and_no_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = FakeMachine()
    assert shown(machine, monkeypatch, capsys)[0] == ["victim (running)", "  no snapshots"]
    machine.state = State.INACCESSIBLE
    assert shown(machine, monkeypatch, capsys)[0] == ["victim (inaccessible)"]


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = written(tmp_path, excluded=[{"pid": 1, "name": EVIL}])
    machine = FakeMachine(snapshot("a", state=state, name=EVIL))
    lines, _ = shown(machine, monkeypatch, capsys)
    assert len(lines) == 3 and all(line.isprintable() for line in lines)


def test_a_deep_branch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    many = [snapshot(str(n), str(n - 1) if n else "", n) for n in range(2000)]
    assert len(shown(FakeMachine(*many), monkeypatch, capsys)[1]["snapshots"]) == 2000


def test_peers_are_not_of_a_vm(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["list", "victim", "--peers"])
    assert end.value.code == 2 and "name no VM" in capsys.readouterr().err


# -- what was kept out, in a line


def test_each_name_once_and_not_too_many() -> None:
    many = [{"pid": n, "name": f"p{n % 20}"} for n in range(60)]
    assert summary(report(excluded=many)).startswith("p0, p1, p2, p3, p4, p5, 14 more (2")
    assert summary(report(excluded=[], kinds={})) == "" and summary(None) == ""


def test_a_verdict_in_a_line() -> None:
    assert verdict_line(Verdict(False, "no report")) == "NOT CLEAN: no report"
    empty = report(excluded=[], kinds={}, reason="nothing-excluded")
    assert verdict_line(Verdict(True, "none was", empty)) == "clean: none was"
    assert verdict_line(Verdict(False, EVIL)).isprintable()
    assert len(verdict_line(Verdict(False, "x" * 5000))) <= 1000


# -- the description


def described(given: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """What was put beside the snapshot, and what is told of it."""
    put: list[str] = []
    monkeypatch.setattr(virtualbox, "describe", lambda machine, snapshot, text: put.append(text))
    machine: Any = FakeMachine()
    told = checkpoint._describe(machine, snapshot("a"), given, verdict)
    return put[0], told


def test_the_description_keeps_what_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = Verdict(True, "ok", report())
    line = "sparc: clean; kept out: gpg-agent, bash (2 MiB)"
    assert described("", clean, monkeypatch) == (line, "")
    assert described(" \n", clean, monkeypatch)[0] == line
    assert described("before the\nupgrade\n", clean, monkeypatch)[0] == (
        f"before the\nupgrade\n\n{line}"
    )
    bad = described("mine", Verdict(False, EVIL), monkeypatch)[0]
    assert bad.startswith("mine\n\nsparc: NOT CLEAN: ") and bad.count("\n") == 2
    # VirtualBox's window would show markup as such.
    assert "<" not in bad and r"\x3cb>" in bad


def test_a_description_that_cannot_be_set_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(*_: object) -> None:
        raise VirtualBoxError("it is locked", "victim")

    monkeypatch.setattr(virtualbox, "describe", busy)
    machine: Any = FakeMachine()
    verdict = Verdict(True, "ok", report())
    why = checkpoint._describe(machine, snapshot("a"), "", verdict)
    assert why == "it is locked"
    done = Checkpoint("victim", UUID, snapshot("a"), verdict, False, why)
    monkeypatch.setattr(checkpoint, "take", lambda *_, **__: done)
    with pytest.raises(SystemExit) as end:
        main(["checkpoint", "victim"])
    assert not end.value.code
    said = capsys.readouterr()
    assert "clean" in said.out and "description in VirtualBox does not say so" in said.err


def test_a_host_without_guest_parts_lists_vms(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> list[Any]:
        raise HostError("asked VirtualBox")

    from guest_service import client

    monkeypatch.setattr(client, "here", lambda: False)
    monkeypatch.setattr(virtualbox, "machines", nobody)
    with pytest.raises(HostError, match="asked VirtualBox"):
        snapshots.show(None, False)
    with pytest.raises(SystemExit) as end:
        main(["list"])
    assert end.value.code == 2


def test_one_that_cannot_be_looked_at_has_no_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = FakeMachine(snapshot("a", state=tmp_path / "gone.sav"))
    _, data = shown(machine, monkeypatch, capsys)
    assert data["snapshots"][0]["bytes"] is None and not data["snapshots"][0]["clean"]
