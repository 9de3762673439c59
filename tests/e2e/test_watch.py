"""sparc watch: what it sees of saves is what was written; and it sees what should not be."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mistakes import mistaken
from parked import parked
from samples import DATA, SAMPLES, write_state
from sparc_lab import Lab, Settings, VirtualBoxMachine

from host_service.errors import HostError
from host_service.watch import probes
from host_service.watch.probes import Probes
from host_service.watch.run import Seen, Watch
from host_service.watch.witness import Result
from sparc.sav.info import describe
from sparc.sav.walk import Walk
from tests.e2e.guarded import Guarded
from tests.e2e.puppet import Puppet, calls
from tools import kernel_headers
from tools.protect import install_pack

_SPARC = Path(sys.executable).with_name("sparc")
_SECONDS = 120
_PAGE = 4096
_PAGES = 256
# Probes find machines by name, of all that run here.
_WATCHED = Settings("watched", "virtualbox", memory=1024)
_PLAIN = Settings("plain", "virtualbox")
_LYING = Settings("lying", "virtualbox", memory=1024)


@pytest.fixture(scope="module", autouse=True)
def probed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where this machine's kernel takes no probes, there is nothing to be tested."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in kernel_headers.for_bcc(lab, tmp_path_factory.mktemp("headers")).items():
            patch.setenv(name, value)
        try:
            Probes(lambda _: None, witness=True).close()
        except HostError as error:
            pytest.skip(f"{error.cause}; {error.advice}")
        yield


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[VirtualBoxMachine]:
    machine = lab.up(_PLAIN)
    try:
        assert isinstance(machine, VirtualBoxMachine)
        yield machine
    finally:
        lab.down(_PLAIN.name)


@pytest.fixture(scope="module")
def guarded(guarded_lab: Lab, stored: Path) -> Iterator[Guarded]:
    with Guarded.up(guarded_lab, _WATCHED, stored) as guarded:
        yield guarded


def _pages(path: Path) -> Any:
    """What `sparc sav info` says of a file."""
    with Walk(path) as walk:
        walk.run()
        return describe(walk)


# -- saves made to order


@pytest.fixture
def puppet(tmp_path: Path) -> Iterator[Puppet]:
    with Puppet(tmp_path, "puppet") as puppet:
        yield puppet


def _watched(watch: Watch) -> Seen:
    """The next save."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        if done := watch.look(0.1):
            (seen,) = done
            return seen
    raise AssertionError


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("witness", [False, True])
def test_all_pages_are_counted(puppet: Puppet, name: str, witness: bool) -> None:
    path = Path(shutil.copy(DATA / f"{name}.sav", puppet.snapshots))
    with Watch(puppet.name, witness=witness) as watch:
        puppet.play(calls(path, goes_on=name != "savestate"))
        save = _watched(watch).save
    told = _pages(path)
    assert save.numbers.by_kind() == told["pages"]
    assert [(unit.name, unit.offset) for unit in save.units] == [
        (unit["name"], unit["offset"]) for unit in told["units"]
    ]
    assert (save.size, save.live) == (told["size"], told["live"])
    assert (save.numbers.odd, save.numbers.lost, save.cut) == (0, 0, "")


def _state(path: Path, *, kept: bool) -> Path:
    """A saved state whose guest wanted pages 60 and 70 out; page 70 is in it all the same."""
    pages = dict.fromkeys((50, 51, 90), b"x" * _PAGE) | {60: bytes(_PAGE), 40: bytes(_PAGE)}
    pages[70] = b"secret!!" * (_PAGE // 8) if kept else bytes(_PAGE)
    return write_state(path, {**pages, **parked(_PAGES, [60], [70])})


@contextmanager
def _command(name: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`sparc watch`, when it watches that VM."""
    argv = [str(_SPARC), "watch", name, *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert process.stderr.readline() == f"watching: {name}\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=_SECONDS)
    return process.returncode, out, err


@pytest.mark.parametrize("kept", [False, True])
def test_a_listed_page_with_content_is_told(puppet: Puppet, kept: bool) -> None:
    lines = calls(_state(puppet.snapshots / "one.sav", kept=kept))
    with _command(puppet.name, "--verify", "-n", "1") as process:
        puppet.play(lines)
        status, out, err = _ended(process)
    assert (status, err) == (int(kept), "")
    if kept:
        assert "NOT CLEAN: 1 of 3 listed pages were written with content (0x46000)" in out
    else:
        assert "verified: of 3 listed pages none was written with content" in out


def test_it_is_what_was_written_that_counts(puppet: Puppet) -> None:
    """The file as it is later says nothing of a page that was in it before."""
    lines = calls(_state(puppet.snapshots / "was.sav", kept=True))
    (puppet.snapshots / "was.sav").unlink()
    other = _state(puppet.snapshots / "is.sav", kept=False)
    lines = [line for line in lines if not line.startswith(b"\nFooter".hex(), len("header "))]
    footer = f"header {other.read_bytes()[-32:].hex()}"
    lines.insert(lines.index("end 0"), footer)
    with Watch(puppet.name, witness=True) as watch:
        puppet.play(lines)
        seen = _watched(watch)
    assert seen.file is not None and seen.file.endswith("/is.sav")
    assert seen.found is not None
    assert seen.found.result is Result.UNKNOWN and "other pages" in seen.found.why


def _never_clean(puppet: Puppet, lines: list[str]) -> Seen:
    with Watch(puppet.name, witness=True) as watch:
        puppet.play(lines)
        seen = _watched(watch)
    assert seen.found is not None and seen.found.result is Result.UNKNOWN
    return seen


@pytest.mark.parametrize("bent", ["no content", "more content", "kind", "short"])
def test_what_is_not_understood_is_not_called_clean(puppet: Puppet, bent: str) -> None:
    lines = calls(_state(puppet.snapshots / "one.sav", kept=False))
    at = lines.index("mem 4096")
    match bent:
        case "no content":
            del lines[at]
        case "more content":
            lines.insert(at, "mem 4096")
        case "kind":
            lines.insert(at + 1, "u8 9")
        case _:
            lines[at] = "mem 4095"
    assert _never_clean(puppet, lines).save.numbers.odd


def test_what_finds_no_room_is_not_called_clean(
    puppet: Puppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_MOST_BLOCKS", 1)
    path = puppet.snapshots / "large.sav"
    pages = dict.fromkeys((50, 2500), b"x" * _PAGE)
    write_state(path, {**pages, **parked(3000, [60])}, ram=3000 * _PAGE)
    assert _never_clean(puppet, calls(path)).save.numbers.lost == 1


def test_steps_that_were_not_told_are_missed(puppet: Puppet) -> None:
    """More than the kernel keeps, while nobody reads."""
    lines = calls(_state(puppet.snapshots / "one.sav", kept=False))
    unit = next(line for line in lines if b"\nUnit".hex() in line)
    at = lines.index("end 0") - 2
    assert _never_clean(puppet, [*lines[:at], *[unit] * 3000, *lines[at:]]).save.cut


def test_a_save_that_had_begun_is_told(puppet: Puppet) -> None:
    lines = calls(_state(puppet.snapshots / "one.sav", kept=False))
    half = len(lines) // 2
    puppet.play(lines[:half])
    with _command(puppet.name, "--verify") as process:
        puppet.play(lines[half:])
        time.sleep(2)
        process.send_signal(signal.SIGTERM)
        status, out, err = _ended(process)
    assert (status, out) == (1, "")
    assert "a save was not seen: it had begun before it was watched" in err


def test_a_vm_that_ends_in_the_middle(puppet: Puppet) -> None:
    lines = calls(_state(puppet.snapshots / "one.sav", kept=False))
    with _command(puppet.name, "--json", "--verify", "-n", "1") as process:
        puppet.play(lines[: len(lines) // 2])
        puppet.end()
        status, out, _ = _ended(process)
    told = json.loads(out)
    assert status == 1 and not told["saved"] and "process ended" in told["cut"]


def test_a_save_that_fails_is_no_fault(puppet: Puppet) -> None:
    lines = calls(_state(puppet.snapshots / "one.sav", kept=True), status=-1795)
    with _command(puppet.name, "--verify", "-n", "1") as process:
        puppet.play([line for line in lines if b"\nFooter".hex() not in line])
        status, out, _ = _ended(process)
    assert status == 0 and "failed" in out and "-1795" in out and "VERIFIED" not in out


def test_quiet_says_nothing_but_saves(puppet: Puppet) -> None:
    argv = [str(_SPARC), "watch", puppet.name, "--quiet", "-n", "1"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = calls(DATA / "plain.sav")
    # It does not say when it has begun.
    while process.poll() is None:
        puppet.play(lines)
        time.sleep(0.5)
    out, err = process.communicate()
    assert "snapshot" in out and "watching" not in err


def test_vms_come_and_go(tmp_path: Path) -> None:
    """And of two with the same libraries, each has its own numbers."""
    with Watch(None, witness=False) as watch, Puppet(tmp_path / "a", "first") as first:
        until = time.monotonic() + _SECONDS
        while "first" not in watch.vms and time.monotonic() < until:
            watch.look(0.1)
        with Puppet(tmp_path / "b", "second") as second:
            while "second" not in watch.vms and time.monotonic() < until:
                watch.look(0.1)
            for puppet, name in ((first, "plain"), (second, "live")):
                path = Path(shutil.copy(DATA / f"{name}.sav", puppet.snapshots))
                puppet.play(calls(path))
            done: list[Seen] = []
            while len(done) < 2 and time.monotonic() < until:
                done += [seen for seen in watch.look(0.1) if seen.vm.name in ("first", "second")]
        pages = {seen.vm.name: sum(seen.save.numbers.pages) for seen in done}
        while "second" in watch.vms and time.monotonic() < until:
            watch.look(0.1)
        assert "first" in watch.vms and "second" not in watch.vms
    for vm, name in (("first", "plain"), ("second", "live")):
        assert pages[vm] == sum(_pages(DATA / f"{name}.sav")["pages"].values())


# -- VirtualBox's own


@pytest.mark.parametrize("way", ["vboxmanage", "live", "savestate"])
def test_what_virtualbox_writes(machine: VirtualBoxMachine, way: str) -> None:
    """Of a VM without the pack: the same pages, units and bytes as in the file."""
    with _command(machine.name, "--json", "-n", "1") as process:
        path = machine.checkpoint(way, way)
        status, out, err = _ended(process)
    assert (status, err) == (0, "")
    seen, told = json.loads(out), _pages(path)
    kinds = {"vboxmanage": "snapshot", "live": "live snapshot", "savestate": "savestate"}
    assert (seen["kind"], seen["saved"], seen["verify"]) == (kinds[way], True, None)
    assert seen["pages"] == told["pages"]
    assert seen["bytes"] == path.stat().st_size
    assert seen["file"] == str(path) and seen["vm"]["name"] == machine.name
    shown = [(unit["name"], unit["instance"], unit["pass"]) for unit in seen["units"]]
    assert shown == [(unit["name"], unit["instance"], unit["pass"]) for unit in told["units"]]
    assert (seen["lost"], seen["odd"], seen["cut"]) == (0, 0, None)
    wanted = {"prepare", "memory", "devices", "finish"}
    assert wanted <= set(seen["phases_us"])
    assert (seen["still_us"] is None) == (way == "savestate")
    assert sum(seen["phases_us"][name] for name in wanted) <= seen["us"] * 1.01
    if way == "savestate":
        machine.restore(way)


def test_of_an_excluded_process_no_page_is_written(guarded: Guarded) -> None:
    guarded.hold()
    with _command(guarded.machine.name, "--verify", "--json", "-n", "1") as process:
        path, report = guarded.checkpoint("watched", "vboxmanage")
        status, out, err = _ended(process)
    seen = json.loads(out)
    assert (status, err) == (0, ""), seen
    assert report["clean"] and seen["verify"]["result"] == "none written", seen
    listed = report["pages"]["drop"] + report["pages"]["stash"]
    assert (seen["verify"]["listed"], seen["verify"]["written"]) == (listed, 0)
    assert seen["verify"]["parts"] == report["extents"] > 0
    assert seen["pages"] == _pages(path)["pages"]


def test_without_the_pack_at_work_nothing_is_verified(guarded: Guarded) -> None:
    """Follows the test above: there is something to be kept out."""
    guarded.extra_data("Policy", "off")
    try:
        with _command(guarded.machine.name, "--verify", "--json", "-n", "1") as process:
            _, report = guarded.checkpoint("off", "vboxmanage")
            status, out, _ = _ended(process)
    finally:
        guarded.extra_data("Policy", "")
    guarded.end_holders()
    assert not report["clean"]
    assert (status, json.loads(out)["verify"]["result"]) == (1, "not verified")


def test_a_pack_that_lies_is_found_out(stored: Path, tmp_path: Path) -> None:
    """It puts nothing aside and zeroes nothing, and reports that all is clean."""
    folder = mistaken(
        tmp_path,
        "host_service/extpack/stash.c",
        "if (guest_write(memory, stash->pieces[i].gpa, zeros, stash->pieces[i].bytes))",
        "if (!zeros[0] && !memory->read)",
    )
    subprocess.run(["make", "-s", "-C", folder], check=True)
    with Lab(owned=True) as lab:
        install_pack(lab, folder / "Sparc.vbox-extpack")
        # By another name than that of the test above.
        with Guarded.up(lab, _LYING, stored) as guarded:
            guarded.hold()
            with _command(guarded.machine.name, "--verify", "--json", "-n", "1") as process:
                _, report = guarded.checkpoint("lie", "vboxmanage")
                status, out, _ = _ended(process)
    found = json.loads(out)["verify"]
    assert report["clean"], "it would not have been noticed otherwise"
    assert (status, found["result"]) == (1, "some written"), found
    assert found["written"] > 100
