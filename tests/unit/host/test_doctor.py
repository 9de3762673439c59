"""`sparc doctor` on a host: each fault is injected and seen, then mended."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host.reporting import UUID, good_status, put_beside, written
from samples import write_state

from host_service import doctor, extension_pack
from host_service.doctor import Host, Vm, examine
from host_service.errors import HostError
from host_service.extension_pack import Pack
from host_service.verdict import judge
from host_service.vm_socket import PackStatus, _parse
from sparc.cli import doctor as command_module
from sparc.findings import BAD, GOOD, NOTE, UNKNOWN, Finding, status
from sparc.wire import VERSION


def pack(**other: Any) -> PackStatus:
    return _parse(json.dumps(good_status(**{"abi": VERSION, **other})).encode())


class Bench:
    """A host with one VM, and nothing wrong."""

    def __init__(self, folder: Path) -> None:
        self.version = "7.2.4r170995"
        self.pack: Pack | HostError | None = Pack("0.1.0", "")
        self.folder = folder / "Snapshots"
        self.folder.mkdir(mode=0o700)
        self.state = written(self.folder)
        self.state.chmod(0o600)
        self.vm = Vm(
            "victim",
            True,
            pack=pack(),
            last=("one", judge(self.state, UUID)),
            folder=self.folder,
            states=(self.state,),
        )
        self.sockets: Callable[[], Path] = lambda: Path("/run/sparc-host")

    def change(self, **other: Any) -> None:
        self.vm = dataclasses.replace(self.vm, **other)

    def forget_report(self) -> None:
        self.state.with_name("one.sparc.json").unlink()
        self.change(last=("", judge(self.state, UUID)))

    def open_all(self) -> None:
        self.folder.chmod(0o711)
        self.state.chmod(0o644)

    def _installed(self) -> Pack | None:
        if isinstance(self.pack, HostError):
            raise self.pack
        return self.pack

    def host(self) -> Host:
        return Host((), lambda: self.version, self._installed, self.sockets, lambda _: [self.vm])

    def look(self) -> dict[str, Finding]:
        return {finding.what: finding for finding in examine(self.host())}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_is_right(bench: Bench) -> None:
    found = bench.look()
    assert {finding.state for finding in found.values()} == {GOOD}, found
    assert len(found) == 7 and status(found.values()) == 0


def _unclean(bench: Bench, **other: Any) -> None:
    told = {"clean": False, "reason": "timeout", "message": "no answer in 5 s", **other}
    state = written(bench.folder, **told)
    bench.change(last=("one", judge(state, UUID)))


def _clean(bench: Bench) -> None:
    bench.change(last=("two", judge(written(bench.folder), UUID)))


_Do = Callable[[Bench], Any]
_FAULTS: dict[str, tuple[_Do, str, str, str, _Do]] = {
    "too old": (
        lambda b: setattr(b, "version", "6.1.50r161033"),
        "VirtualBox",
        BAD,
        "install VirtualBox 7.2",
        lambda b: setattr(b, "version", "7.0.20"),
    ),
    "too new": (
        lambda b: setattr(b, "version", "7.3.0"),
        "VirtualBox",
        BAD,
        "install VirtualBox 7.2",
        lambda b: setattr(b, "version", "7.2.0"),
    ),
    "no pack": (
        lambda b: setattr(b, "pack", None),
        "extension pack",
        BAD,
        "sparc host install",
        lambda b: setattr(b, "pack", Pack("1", "")),
    ),
    "an unusable pack": (
        lambda b: setattr(b, "pack", Pack("0.1.0", "The library was not found")),
        "extension pack",
        BAD,
        "sparc host uninstall && sparc host install",
        lambda b: setattr(b, "pack", Pack("1", "")),
    ),
    "started before the pack": (
        lambda b: b.change(pack=None),
        "victim: pack",
        BAD,
        "VBoxManage startvm victim",
        lambda b: b.change(pack=pack()),
    ),
    "a silent pack": (
        lambda b: b.change(pack=HostError("gives no answer", advice="VBox.log says more")),
        "victim: pack",
        BAD,
        "VBox.log",
        lambda b: b.change(pack=pack()),
    ),
    "no mailbox": (
        lambda b: b.change(pack=pack(module=False, abi=None), named=True),
        "victim: mailbox",
        BAD,
        "in the guest: sparc doctor",
        lambda b: b.change(pack=pack()),
    ),
    "another ABI": (
        lambda b: b.change(pack=pack(abi=VERSION + 1)),
        "victim: mailbox",
        BAD,
        "one release",
        lambda b: b.change(pack=pack()),
    ),
    "warn": (
        lambda b: b.change(pack=pack(policy="warn")),
        "victim: policy",
        NOTE,
        "sparc host policy victim strict",
        lambda b: b.change(pack=pack()),
    ),
    "not clean": (_unclean, "victim: last checkpoint", BAD, "sparc scrub victim:one", _clean),
    "no report": (
        lambda b: b.forget_report(),
        "victim: last checkpoint",
        BAD,
        "discard it",
        _clean,
    ),
    "a folder for all": (
        lambda b: b.folder.chmod(0o755),
        "victim: snapshot folder",
        BAD,
        "chmod -R go-rwx ",
        lambda b: b.folder.chmod(0o700),
    ),
    "a file for all": (
        lambda b: b.open_all(),
        "victim: snapshot folder",
        BAD,
        "chmod -R go-rwx ",
        lambda b: b.state.chmod(0o600),
    ),
    "others could answer": (
        lambda b: setattr(b, "sockets", _not_ours),
        "sockets",
        BAD,
        "make it mode 0700",
        lambda b: setattr(b, "sockets", lambda: Path("/run/sparc-host")),
    ),
}


def _not_ours() -> Path:
    raise HostError("/run/sparc-host is not ours alone", advice="remove it, or make it mode 0700")


@pytest.mark.parametrize("fault", _FAULTS)
def test_a_fault_is_seen_and_its_mending_too(bench: Bench, fault: str) -> None:
    inject, what, state, mend, do_mend = _FAULTS[fault]
    inject(bench)
    finding = bench.look()[what]
    assert finding.state == state and mend in finding.mend, finding
    do_mend(bench)
    found = bench.look()
    assert {finding.state for finding in found.values()} == {GOOD}, found


def test_a_vm_that_nobody_wants_protected_is_only_noted(bench: Bench) -> None:
    bench.state.with_name("one.sparc.json").unlink()
    last = ("one", judge(bench.state, UUID))
    bench.change(pack=pack(module=False, abi=None, armed=False, members=0), last=last)
    found = bench.look()
    assert found["victim: mailbox"].state == found["victim: last checkpoint"].state == NOTE
    assert status(found.values()) == 0
    for wanted in ({"named": True}, {"policy": "strict"}):
        bench.change(**{"named": False, "policy": "", **wanted})
        assert status(bench.look().values()) == 1
    bench.change(named=True, policy="off")
    assert status(bench.look().values()) == 0


def test_another_file_in_a_checkpoints_place(bench: Bench) -> None:
    write_state(bench.state, {})
    put_beside(bench.state)
    bench.change(running=False, pack=None, last=("one", judge(bench.state, UUID)))
    finding = bench.look()["victim: last checkpoint"]
    # Nothing else tells that this VM's guest has something to keep out.
    assert finding.state == BAD and "another saved state" in finding.says


def test_a_file_in_a_closed_folder_is_nobodys(bench: Bench) -> None:
    bench.state.chmod(0o644)
    assert bench.look()["victim: snapshot folder"].state == GOOD


def test_a_vm_that_is_off_has_no_pack(bench: Bench) -> None:
    bench.change(running=False, pack=None)
    assert {finding.state for finding in bench.look().values()} == {GOOD}


def test_names_are_quoted(bench: Bench) -> None:
    bench.change(name="a; b", pack=None)
    assert "startvm 'a; b'" in bench.look()["a; b: pack"].mend


def test_what_cannot_be_looked_at(bench: Bench) -> None:
    def absent(_: object) -> list[Vm]:
        raise HostError("VirtualBox's Python SDK (vboxapi) is not installed")

    host = bench.host()
    host.look = absent
    findings = examine(host)
    assert findings[-1].state == UNKNOWN and "VBOX_SDK_PATH" in findings[-1].mend
    assert status(findings) == 2


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("7.2.4r170995\n", "7.2.4r170995"),
        ("WARNING: Environment variable LOGNAME is unset\n7.2.4r1\n", "7.2.4r1"),
        ("WARNING: The character device /dev/vboxdrv does not exist.\n7.2.4r1\n", None),
        ("WARNING: The vboxdrv kernel module is not loaded. Either\n         7.2.4r1\n", None),
    ],
)
def test_the_version_of_virtualbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str | None
) -> None:
    (tmp_path / "said").write_text(said)
    program = tmp_path / "VBoxManage"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/said\n")
    program.chmod(0o755)
    monkeypatch.setenv("VBOX_PROGRAM_PATH", str(tmp_path))
    if version is None:
        with pytest.raises(HostError) as raised:
            extension_pack.virtualbox_version()
        assert "vboxconfig" in raised.value.advice
    else:
        assert extension_pack.virtualbox_version() == version


def test_the_command(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "Host", lambda _: bench.host())
    assert command_module.command.main(["victim", "--json"], standalone_mode=False) == 0
    assert json.loads(capfd.readouterr().out)["side"] == "host"
    bench.pack = None
    assert command_module.command.main(["--host", "--quiet"], standalone_mode=False) == 1
    out = capfd.readouterr().out
    assert out == "WRONG  extension pack: not installed\n       mend: sparc host install\n"
