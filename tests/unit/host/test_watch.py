"""sparc watch: what it makes of what probes tell; tests/e2e/test_watch.py has the probes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parked import parked
from samples import DATA, SAMPLES, write_state

from host_service.errors import HostError
from host_service.watch import probes, processes
from host_service.watch.processes import VmProcess
from host_service.watch.run import Seen
from host_service.watch.saves import PHASES, Follower, Save
from host_service.watch.steps import Event, Numbers, Step
from host_service.watch.witness import Found, Result, compare, find_file
from sparc import abi
from sparc.cli import watch_text
from sparc.cli.main import main
from sparc.sav import c_pgm, c_ssm
from sparc.sav.index import RAM
from sparc.sav.state import SavedState
from tests.e2e.puppet import UUID, Puppet

_SOURCE = Path(probes.__file__).with_name("probes.bpf.c")
_PAGES = 256
_MS = 1_000_000
_ENTRY = ((Step.SAVE, 1), (Step.HEADER, 0))


# -- steps put together


def _play(follower: Follower, *steps: tuple[Step, int] | Event, save: int = 1) -> list[Save]:
    """Each step a ms after the one before."""
    done = []
    for at, step in enumerate(steps, 1):
        event = step if isinstance(step, Event) else Event(step[0], 7, save, 0, step[1])
        done += follower.step(replace(event, time=at * _MS, save=save))
    return done


def _unit(name: str, pass_: int = c_ssm.PASS_FINAL, pages: int = 0) -> Event:
    numbers = Numbers((0, pages, *[0] * 7))
    return Event(Step.UNIT, 7, 1, 0, 64, numbers, name, 1, pass_)


_FOOTER = Event(Step.FOOTER, 7, 1, 0, 1000, Numbers((0, 9, *[0] * 7)), crc=0x1234)


def test_a_snapshot() -> None:
    steps = (*_ENTRY, _unit("SSM"), _unit("pgm"), _unit("cpum", pages=9), (Step.END, 990), _FOOTER)
    (save,) = _play(
        Follower(),
        *((Step.SUSPEND, 1), (Step.SUSPENDED, 0)),
        *steps,
        *((Step.SAVED, 0), (Step.RESUME, 5), (Step.RESUMED, 0)),
    )
    assert (save.kind, save.saved, save.cut) == ("snapshot", True, "")
    assert save.size == 1000 + c_ssm.footer.sizeof() and save.footer == (1000, 0x1234)
    assert save.phases == {
        "suspend": 1000,
        "prepare": 2000,
        "memory": 1000,
        "devices": 2000,
        "finish": 2000,
        "resume": 1000,
    }
    assert save.still == 11_000
    told = save.as_json()
    assert [unit["name"] for unit in told["units"]] == ["SSM", "pgm", "cpum"]
    assert told["pages"]["ram_raw"] == 0 and told["us"] == 7000


def test_a_live_one() -> None:
    units = (_unit("pgm", 0), _unit("pgm", 1), _unit("SSM"), _unit("pgm"), _unit("cpum"))
    (save,) = _play(
        Follower(),
        *((Step.SAVE, 1), (Step.HEADER, 1), *units, (Step.END, 990), _FOOTER, (Step.SAVED, 0)),
        *((Step.RESUME, 5), (Step.RESUMED, 0)),
    )
    assert save.kind == "live snapshot"
    assert save.phases["live"] == 2000 and save.phases["memory"] == 1000
    assert save.still == 7000
    assert set(save.phases) <= set(PHASES)


def test_a_saved_vm_is_told_of_at_once() -> None:
    (save,) = _play(Follower(), (Step.SAVE, 0), _unit("pgm"), _FOOTER, (Step.SAVED, 0))
    assert save.kind == "savestate" and save.still is None and save.saved


def test_a_vm_that_was_paused_is_not_waited_for() -> None:
    follower = Follower()
    assert _play(follower, *_ENTRY, _unit("pgm"), _FOOTER, (Step.SAVED, 0)) == []
    assert follower.late(1000 * _MS) == []
    (save,) = follower.late(9000 * _MS)
    assert save.saved and save.still is None


def test_one_that_fails() -> None:
    (save,) = _play(Follower(), (Step.SAVE, 0), _unit("pgm"), (Step.SAVED, 0xFFFFF8FD))
    assert not save.saved and save.as_json()["status"] == -1795
    assert "failed" in _text(save)[0]


def test_a_suspend_that_was_refused_is_none() -> None:
    steps = ((Step.SUSPEND, 1), (Step.SUSPENDED, 0xFFFFFF00), (Step.SAVE, 0), (Step.SAVED, 0))
    (save,) = _play(Follower(), *steps)
    assert "suspend" not in save.phases


@pytest.mark.parametrize("end", ["gone", "next"])
def test_an_end_that_was_not_seen(end: str) -> None:
    follower = Follower()
    assert _play(follower, *_ENTRY, _unit("pgm")) == []
    done = follower.cut_off("it is gone") if end == "gone" else _play(follower, *_ENTRY, save=2)
    assert len(done) == 1 and done[0].cut and not done[0].saved
    assert (follower.under_way is not None) == (end == "next")


def test_a_beginning_that_was_not_seen() -> None:
    follower = Follower()
    assert _play(follower, _unit("pgm"), _FOOTER, (Step.SAVED, 0)) == []
    (save,) = follower.late(9000 * _MS)
    assert save.cut and compare(_vm(), save, None, _frames()).result is Result.UNKNOWN


# -- what a witness says


def _frames(*frames: int) -> Any:
    return np.array(frames, np.uint64)


def _vm(folder: Path = Path("/nowhere")) -> VmProcess:
    root = os.open("/", os.O_PATH)
    return VmProcess(os.getpid(), 0, Path(), Path(), root, "victim", UUID, str(folder))


def _seen(path: Path) -> tuple[Save, Any]:
    """A save as it is seen where nothing is missed, and the frames with content."""
    with SavedState(path) as state:
        pages = tuple(state.index.counts()[name] for name in c_pgm.KIND_NAMES)
        frames = [page for page in range(_PAGES) if (at := state.place(page)) and at.offset]
        footer = c_ssm.footer.parse(path.read_bytes()[-c_ssm.footer.sizeof() :])
        raw = (c_pgm.RAM_RAW, c_pgm.MMIO2_RAW, c_pgm.ROM_VIRGIN, c_pgm.ROM_SHADOW_RAW)
        contents = sum(pages[kind] for kind in raw)
        assert state.index.table(RAM) is not None
    (save,) = _play(Follower(), (Step.SAVE, 0), (Step.SAVED, 0))
    save.numbers = Numbers(pages, contents, pages[c_pgm.RAM_RAW])
    save.footer = footer.offset, footer.stream_crc
    return save, _frames(*frames)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A saved state whose guest wanted pages 60, 70 and 71 out, and part of page 80."""
    pages = {n: bytes(4096) for n in (60, 70, 71)} | {80: b"x" * 4096, 90: b"y" * 4096}
    listed = parked(_PAGES, [60], [70, 71], [(80 * 4096 + 16, 32, abi.Kind.PIPE)])
    return write_state(tmp_path / "clean.sav", {**pages, 40: bytes(4096), **listed})


def _said(path: Path, save: Save, frames: Any) -> Found:
    return compare(_vm(path.parent), save, find_file(_vm(path.parent), save, set()), frames)


def test_no_listed_page_was_written(clean: Path) -> None:
    found = _said(clean, *_seen(clean))
    assert found == Found(Result.NONE, listed=4, parts=1)
    assert found.result.good


def test_listed_pages_were_written(clean: Path) -> None:
    save, frames = _seen(clean)
    found = _said(clean, save, np.append(frames, _frames(70, 60)))
    assert (found.result, found.written) == (Result.SOME, 2)
    assert found.pages == (60 * 4096, 70 * 4096) and not found.result.good


def test_where_sparc_did_not_run_nothing_is_listed() -> None:
    path = DATA / "plain.sav"
    found = _said(path, *_seen(path))
    assert found.result is Result.NOTHING and "did not run" in found.why


def test_where_nothing_was_excluded_nothing_is_listed(tmp_path: Path) -> None:
    listed = parked(_PAGES, state=abi.State.IDLE, armed=0)
    path = write_state(tmp_path / "idle.sav", listed)
    found = _said(path, *_seen(path))
    assert found.result is Result.NOTHING and "nothing was excluded" in found.why


@pytest.mark.parametrize("how", ["not held", "other version", "damaged"])
def test_a_list_that_does_not_hold(tmp_path: Path, how: str) -> None:
    bent: dict[str, dict[str, Any]] = {
        "not held": {"state": abi.State.FAILED},
        "other version": {"version": abi.VERSION + 1},
        "damaged": {"run_flip": 3},
    }
    path = write_state(tmp_path / "bent.sav", parked(_PAGES, **bent[how]))
    assert _said(path, *_seen(path)).result is Result.UNKNOWN


def test_what_was_missed_is_never_called_clean(clean: Path) -> None:
    save, frames = _seen(clean)
    numbers = save.numbers
    pages = (numbers.pages[0] + 1, *numbers.pages[1:])
    for other in (
        replace(numbers, lost=1),
        replace(numbers, odd=1),
        replace(numbers, contents=numbers.contents - 1),
        replace(numbers, noted=numbers.noted - 1),
        replace(numbers, pages=pages),
    ):
        found = _said(clean, dataclasses.replace(save, numbers=other), frames)
        assert found.result is Result.UNKNOWN and found.why, other
    for bad in ({"cut": "it was not watched to its end"}, {"status": None}, {"footer": None}):
        assert _said(clean, dataclasses.replace(save, **bad), frames).result is Result.UNKNOWN


def test_a_file_is_known_by_its_end(clean: Path, tmp_path: Path) -> None:
    save, _ = _seen(clean)
    other = tmp_path / "0.sav"
    data = bytearray(clean.read_bytes())
    data[-16] ^= 1
    other.write_bytes(data)
    (tmp_path / "1.sav").symlink_to(clean)
    os.mkfifo(tmp_path / "2.sav")
    (tmp_path / "3.sav").touch()
    assert find_file(_vm(tmp_path), save, set()) == str(clean)
    clean.unlink()
    found = compare(_vm(tmp_path), save, find_file(_vm(tmp_path), save, {str(other)}), _frames())
    assert (found.result, found.why) == (Result.UNKNOWN, "the file was not found")


def test_a_file_that_is_damaged_is_not_verified(clean: Path) -> None:
    save, frames = _seen(clean)
    data = bytearray(clean.read_bytes())
    data[len(data) // 2] ^= 0xFF
    clean.write_bytes(data)
    found = _said(clean, save, frames)
    assert found.result is Result.UNKNOWN
    assert "the file cannot be read: " in _text(save, found)[-1]


# -- what is shown


def _text(save: Save, found: Found | None = None) -> list[str]:
    seen = Seen(_vm(), save, "/vm/Snapshots/one.sav", found)
    return [line for line, _ in watch_text.lines(seen)]


@pytest.mark.parametrize("result", Result)
def test_each_result_has_words_and_a_colour(clean: Path, result: Result) -> None:
    save, _ = _seen(clean)
    seen = Seen(_vm(), save, None, Found(result, "WHY", 5, 1, 2, (0x1000, 0x2000)))
    line, colour = list(watch_text.lines(seen))[-1]
    assert colour == ("green" if result is Result.NONE else "red" if not result.good else None)
    assert result in (Result.NONE, Result.SOME) or "WHY" in line
    assert ("NOT CLEAN" in line) == (result is Result.SOME)
    if result is Result.SOME:
        assert "0x1000" in line
    assert seen.as_json()["verify"]["result"] == result.value


def test_what_was_lost_is_shown(clean: Path) -> None:
    save, _ = _seen(clean)
    save.numbers = replace(save.numbers, lost=3, odd=4)
    assert any("lost 3, not understood 4" in line for line in _text(save))


# -- processes


@pytest.fixture
def puppet(tmp_path: Path) -> Iterator[Puppet]:
    with Puppet(tmp_path, "a & b") as puppet:
        yield puppet


def _found(puppet: Puppet) -> VmProcess | None:
    known: set[tuple[int, int]] = set()
    return next((vm for vm in processes.find(known) if vm.pid == puppet.pid), None)


def test_a_process_is_known_by_what_it_has_mapped(puppet: Puppet) -> None:
    vm = _found(puppet)
    assert vm is not None
    assert (vm.name, vm.uuid) == ("a & b", UUID)
    assert vm.is_called(UUID) and vm.is_called("a & b") and not vm.is_called("a")
    assert vm.path(vm.folder).samefile(puppet.snapshots)
    assert processes.is_alive(vm)
    assert all(one.pid != vm.pid for one in processes.find({(vm.pid, vm.started)}))
    puppet.end()
    assert not processes.is_alive(vm)
    assert _found(puppet) is None
    vm.close()


@pytest.mark.parametrize("settings", ["", "<nothing", "<a/>", None])
def test_settings_that_tell_nothing(puppet: Puppet, settings: str | None) -> None:
    path = next(puppet.snapshots.parent.glob("*.vbox"))
    path.unlink()
    if settings is None:
        os.mkfifo(path)
    else:
        path.write_text(settings)
    vm = _found(puppet)
    assert vm is not None and vm.uuid == "" and vm.path(vm.folder).samefile(puppet.snapshots)
    vm.close()


# -- probes


def test_steps_are_numbered_as_in_the_kernel() -> None:
    found = re.search(r"enum step \{(.*?)\}", _SOURCE.read_text(), re.S)
    assert found is not None
    names = re.findall(r"STEP_(\w+)", found[1])
    assert {name: at for at, name in enumerate(names)} == {one.name: one.value for one in Step}


def test_kinds_of_pages_are_those_of_the_file() -> None:
    found = re.search(r"enum kind \{(.*?)\}", _SOURCE.read_text(), re.S)
    assert found is not None
    names = re.findall(r"\w+", found[1])
    assert tuple(name.lower() for name in names) == c_pgm.KIND_NAMES
    assert [getattr(c_pgm, name) for name in names] == list(range(len(names)))


def test_only_root_may_look(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as ended:
        main(["watch"])
    assert ended.value.code == 2
    assert "only root" in capsys.readouterr().err


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setitem(__import__("sys").modules, "bcc", None)
    with pytest.raises(HostError, match="bcc"):
        probes.Probes(lambda _: None, witness=False)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_end_as_they_are_known_by(name: str, tmp_path: Path) -> None:
    save, _ = _seen(DATA / f"{name}.sav")
    assert find_file(_vm(DATA), save, set()) == str(DATA / f"{name}.sav")
