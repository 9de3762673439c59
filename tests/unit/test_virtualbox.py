"""VM[:SNAPSHOT] to a file, against an SDK that behaves as VirtualBox 7.2's was seen to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from host_service.virtualbox import VirtualBoxError, saved_state
from host_service.virtualbox.connection import connect


class Machine:
    """A VM called "tiny": saved, with a snapshot taken live and one taken while it was off."""

    def __init__(self) -> None:
        self.stateFilePath = "/vm/tiny/now.sav"
        self.snapshots = {
            "live1": SimpleNamespace(
                name="live1", machine=SimpleNamespace(stateFilePath="/vm/tiny/live1.sav")
            ),
            "off": SimpleNamespace(name="off", machine=SimpleNamespace(stateFilePath="")),
        }
        self.currentSnapshot: Any = self.snapshots["live1"]

    def findSnapshot(self, name: str) -> Any:
        if name not in self.snapshots:
            raise RuntimeError("0x80bb0001")
        return self.snapshots[name]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    tiny = Machine()

    def find(name: str) -> Machine:
        if name != "tiny":
            raise RuntimeError("0x80bb0001")
        return tiny

    released: list[bool] = []
    sdk: Any = ModuleType("vboxapi")
    sdk.VirtualBoxManager = lambda style, params: SimpleNamespace(
        getVirtualBox=lambda: SimpleNamespace(findMachine=find),
        deinit=lambda: released.append(True),
    )
    monkeypatch.setitem(sys.modules, "vboxapi", sdk)
    connect.cache_clear()
    yield tiny
    connect.cache_clear()


def test_the_saved_machine_then_its_snapshot(machine: Machine) -> None:
    assert saved_state("tiny") == Path("/vm/tiny/now.sav")
    assert saved_state("tiny", "live1") == Path("/vm/tiny/live1.sav")
    machine.stateFilePath = ""
    assert saved_state("tiny") == Path("/vm/tiny/live1.sav")


@pytest.mark.parametrize(
    ("vm", "snapshot", "cause"),
    [
        ("other", None, "no such VM"),
        ("tiny", "nothing", "no snapshot nothing"),
        ("tiny", "off", "while the VM was off"),
    ],
)
def test_what_is_not_there(machine: Machine, vm: str, snapshot: str | None, cause: str) -> None:
    with pytest.raises(VirtualBoxError) as caught:
        saved_state(vm, snapshot)
    assert cause in caught.value.cause and caught.value.vm == vm


def test_neither_saved_nor_snapshot(machine: Machine) -> None:
    machine.stateFilePath, machine.currentSnapshot = "", None
    with pytest.raises(VirtualBoxError) as caught:
        saved_state("tiny")
    assert "not saved" in caught.value.cause


def test_a_virtualbox_that_does_not_answer(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("VBoxSVC is gone\nand more")

    monkeypatch.setattr(sys.modules["vboxapi"], "VirtualBoxManager", broken)
    with pytest.raises(VirtualBoxError) as caught:
        saved_state("tiny")
    assert caught.value.cause == "VirtualBox does not answer: VBoxSVC is gone"
