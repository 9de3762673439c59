"""What the host does for QEMU's VMs, as far as it needs none that runs."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parked import PAGE, parked
from streams import RAM, TEXT, sample

from host_service.errors import HostError
from host_service.qemu import store
from host_service.qemu.devices import blank_devices
from host_service.qemu.handshake import Guest, mailboxes
from host_service.qemu.manifest import BadManifest, Manifest, ranges, read_manifest
from host_service.qemu.memory import Backing, GuestMemory, NoMemory, Part
from host_service.qemu.processes import _monitor, _name
from host_service.qemu.pump import Broken, Passed, pass_on
from host_service.qemu.restore import command_line
from host_service.qemu.screen import blank_all, blank_text
from host_service.qemu.stash import Stash, cut
from sparc import abi
from sparc.abi import Request, State
from sparc.qemu.devices import devices
from sparc.qemu.state import StreamState

_PAGES = 256


def _memory(pages: dict[int, bytes]) -> GuestMemory:
    """A guest of 1 MB, whose second half lies above 4 GB."""
    fd = os.memfd_create("guest")
    os.truncate(fd, _PAGES * PAGE)
    for number, data in pages.items():
        os.pwrite(fd, data, number * PAGE)
    half = _PAGES * PAGE // 2
    parts = [Part(0, half, "ram0", 0), Part(1 << 32, half, "ram0", half)]
    return GuestMemory(parts, {"ram0": Backing(fd, 0, _PAGES * PAGE)})


def _flat(pages: dict[int, bytes]) -> GuestMemory:
    memory = _memory(pages)
    return GuestMemory([Part(0, _PAGES * PAGE, "ram0", 0)], memory.files)


# -- memory


def test_memory_by_address() -> None:
    with _memory({3: TEXT, 128: b"high"}) as memory:
        assert memory.read(3 * PAGE, len(TEXT)) == TEXT and memory.read(1 << 32, 4) == b"high"
        assert memory.end == (1 << 32) + _PAGES * PAGE // 2
        memory.store(8 * PAGE, 0x1122334455667788)
        assert memory.load(8 * PAGE) == 0x1122334455667788
        memory.write(5 * PAGE, b"x" * (2 * PAGE))
        memory.clear(5 * PAGE, PAGE)
        memory.give_back(6 * PAGE, PAGE)
        assert memory.read(5 * PAGE, 2 * PAGE) == bytes(2 * PAGE)
        for gpa, length in ((_PAGES * PAGE // 2 - 8, 16), (1 << 31, 1), (1 << 40, 1)):
            with pytest.raises(NoMemory):
                memory.read(gpa, length)


def test_memory_that_is_given_back_costs_the_host_nothing() -> None:
    with _memory(dict.fromkeys(range(64), b"x" * PAGE)) as memory:
        fd = memory.files["ram0"].fd
        before = os.fstat(fd).st_blocks
        memory.give_back(0, 64 * PAGE)
        assert os.fstat(fd).st_blocks == before - 64 * PAGE // 512


# -- the guest


def test_the_handshake() -> None:
    with _flat(parked(_PAGES)) as memory:
        (mailbox,) = mailboxes(memory)
        guest = Guest(memory, mailbox)
        assert guest.stands()
        sequence = guest.ask(Request.PREPARE)
        # What it says is an answer to something else.
        assert guest.look().state == State.PARKED
        assert guest.wait(State.PARKED, seconds=0.01) is None
        memory.store(mailbox.gpa + 128, abi.word(sequence, State.PARKED))
        assert guest.wait(State.PARKED, seconds=1) is not None
        guest.let_go()
        assert memory.load(mailbox.gpa + 256) == abi.word(sequence, Request.RESUMED)
        memory.store(mailbox.gpa + 128, abi.word(sequence, State.PREPARING))
        guest.let_go()
        assert memory.load(mailbox.gpa + 256) == abi.word(sequence, Request.ABANDON)
        memory.write(mailbox.gpa + 24, b"another load")
        assert not guest.stands() and mailboxes(memory) == []


def _manifest(pages: dict[int, bytes]) -> Manifest:
    with _flat(pages) as memory:
        return read_manifest(memory, mailboxes(memory)[0].gpa, 3)


def test_what_the_guest_lists() -> None:
    extents = [(50 * PAGE + 8, 100, abi.Kind.PIPE), (51 * PAGE, PAGE, abi.Kind.TTY)]
    found = _manifest(parked(_PAGES, range(100, 120), [60, 61], extents))
    assert list(ranges(found.drop)) == [(100 * PAGE, 20 * PAGE)]
    assert list(ranges(found.stash)) == [(40 * PAGE, PAGE), (60 * PAGE, 2 * PAGE)]
    assert [tuple(extent) for extent in found.extents.tolist()] == extents
    assert found.pids == {812}


_LIES: list[tuple[str, dict[str, Any]]] = [
    ("the number of directories", {"head": {"directories": 0}}),
    ("the number of directories", {"head": {"directories": 1 << 31}}),
    ("the sequence", {"head": {"sequence": 2}}),
    ("what is asked of the display", {"head": {"display": 3}}),
    ("a reserved field", {"head": {"reserved2": 1}}),
    ("the amount of memory", {"head": {"ram_pages": _PAGES + 1}}),
    ("the amount of memory", {"head": {"ram_pages": 0}}),
    ("the number of extents or processes", {"head": {"extents": (1 << 22) + 1}}),
    ("the number of extents or processes", {"head": {"processes": (1 << 20) + 1}}),
    ("the length", {"head": {"run_bytes": 1 << 62}}),
    ("the length", {"head": {"processes": 2}}),
    ("a part outside memory", {"directory": 1 << 40}),
    ("a part outside memory", {"directory": 17 * PAGE + 8}),
    ("the checksum", {"run_flip": 3}),
    ("a page in both bitmaps", {"drop": [60], "stash": [60]}),
    ("the number of pages", {"head": {"drop_pages": 7}}),
    ("the number of pages", {"head": {"stash_pages": 7}}),
    ("the canary", {"head": {"canary_gpa": 1 << 40}}),
    ("the canary", {"head": {"canary_gpa": 41 * PAGE}}),
    ("the mailbox among the pages", {"drop": [16]}),
    ("a page above all memory", {"drop": [_PAGES]}),
    ("an extent outside memory or over a page's end", {"extents": [(_PAGES * PAGE, 8, 0)]}),
    ("an extent outside memory or over a page's end", {"extents": [((1 << 64) - 8, 8, 0)]}),
    ("an extent outside memory or over a page's end", {"extents": [(50 * PAGE + 1, PAGE, 0)]}),
    ("an extent outside memory or over a page's end", {"extents": [(50 * PAGE, 0, 0)]}),
    ("the kind of an extent", {"extents": [(50 * PAGE, 8, abi.KINDS)]}),
    ("an extent in a page of a bitmap", {"extents": [(60 * PAGE, 8, 0)], "stash": [60]}),
    ("an extent in the mailbox", {"extents": [(16 * PAGE + 8, 8, 0)]}),
    ("extents of more than all memory", {"extents": [(50 * PAGE, PAGE, 0)] * (_PAGES + 1)}),
]


@pytest.mark.parametrize(("fault", "lie"), _LIES, ids=str)
def test_a_liar_is_refused(fault: str, lie: dict[str, Any]) -> None:
    with pytest.raises(BadManifest) as caught:
        _manifest(parked(_PAGES, **lie))
    assert str(caught.value) == fault


# -- the stash


def test_what_is_put_aside_comes_back() -> None:
    fd = Stash.file()
    with _memory({60: b"secret" * 100, 127: b"last", 128: b"first"}) as memory:
        pieces = [*cut([(60 * PAGE, PAGE), (127 * PAGE, PAGE)], memory), (1 << 32, 5)]
        stash = Stash.make(fd, pieces)
        stash.take(memory)
        for gpa, length in pieces:
            memory.clear(gpa, length)
        assert memory.read(60 * PAGE, 6) == bytes(6) and stash.bytes == 2 * PAGE + 5
        # As another process does it that has nothing but the descriptor.
        Stash(fd).put_back(memory)
        assert memory.read(60 * PAGE, 6) == b"secret" and memory.read(1 << 32, 5) == b"first"
        assert b"secret" in os.pread(fd, 1 << 20, 0)
        stash.wipe()
        assert not os.pread(fd, 1 << 20, 0).strip(b"\0")
    os.close(fd)


# -- the stream


def _passed(data: bytes, gone: dict[str, bytes] | None, screen: Any = None) -> tuple[Passed, bytes]:
    ours, theirs = os.pipe()

    def pour() -> None:
        with os.fdopen(theirs, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=pour)
    thread.start()
    sink = io.BytesIO()
    try:
        return pass_on(ours, sink, screen, gone), sink.getvalue()
    finally:
        while os.read(ours, 1 << 20):
            pass
        thread.join()
        os.close(ours)


@pytest.mark.parametrize("name", ["plain-old", "plain-new"])
def test_a_stream_passes_as_it_is(name: str, tmp_path: Path) -> None:
    data = sample(name, tmp_path).read_bytes()
    passed, out = _passed(data, None)
    assert out == data and passed.blocks["ram0"] == RAM and passed.pages > 2
    # Nothing of devices was ever used here, so that blanking changes nothing.
    passed, out = _passed(data, {"ram0": bytes(RAM // PAGE)})
    assert out == data and passed.values >= 4 and "e1000" in passed.devices


@pytest.mark.parametrize("name", ["plain-old", "plain-new"])
@pytest.mark.parametrize("page", [2, 3, RAM // PAGE - 1])
def test_what_was_taken_out_cannot_pass(name: str, page: int, tmp_path: Path) -> None:
    gone = np.zeros(RAM // PAGE, np.bool_)
    gone[page] = True
    with pytest.raises(Broken, match="taken out"):
        _passed(sample(name, tmp_path).read_bytes(), {"ram0": gone.tobytes()})


@pytest.mark.parametrize("size", [4, 100, 5000, 300_000])
def test_a_stream_that_ends_too_early(size: int, tmp_path: Path) -> None:
    with pytest.raises(Broken):
        _passed(sample("plain-new", tmp_path).read_bytes()[:size], {})


def _used(data: bytes, kind: str, value: str, content: bytes) -> bytes:
    """With that in the value of a device."""
    (device,) = (device for device in devices(data) if device.kind == kind)
    found = device.value(value)
    assert found is not None and len(content) <= found.size
    return data[: found.start] + content + data[found.start + len(content) :]


@pytest.mark.parametrize("name", ["plain-old", "plain-new"])
def test_what_devices_keep_is_blanked(name: str, tmp_path: Path) -> None:
    with StreamState(sample(name, tmp_path)) as state:
        data = state.unit_bytes("devices")
    used = _used(data, "e1000", "tx.data", b"a packet")
    used = _used(used, "ps2kbd", "queue.data", b"keys")
    used = _used(used, "ps2kbd", "queue.count", (4).to_bytes(4, "big"))
    done = blank_devices(used)
    assert done.data == data and done.fault == ""
    done = blank_devices(_used(used, "e1000", "tx.size", b"\0\x01"))
    assert done.fault == "the network card was in the middle of a packet"


def test_devices_that_are_not_described(tmp_path: Path) -> None:
    with StreamState(sample("plain-new", tmp_path)) as state:
        data = state.unit_bytes("devices")
    assert blank_devices(b"\0").fault == "the stream does not describe them"
    other = data.replace(b'/e1000", "instance', b'/e1001", "instance')
    assert other != data and "is wrong" in blank_devices(other).fault
    # One value more than is described.
    (card,) = (device for device in devices(data) if device.kind == "e1000")
    more = data[: card.start] + b"\0" + data[card.start :]
    assert blank_devices(more).fault == "e1000 saves more than is described"


def test_the_screen() -> None:
    page = bytes(range(256)) * 16
    assert blank_all(0, page) == bytes(PAGE) == blank_text(1 << 18, page)
    text = blank_text(0, page)
    assert text[2::4] == page[2::4] and not any(text[0::4] + text[1::4] + text[3::4])


# -- processes and files


def test_what_a_command_line_says() -> None:
    def line(text: str) -> tuple[str, ...]:
        return ("qemu-system-x86_64", *text.split())

    assert (
        _name(line("-name web -m 1")) == "web" == _name(line("--name guest=web,debug-threads=on"))
    )
    assert _name(line("-name web,,1,process=x")) == "web,1" and _name(line("-m 1")) == ""
    assert _monitor(line("-qmp unix:/run/q,server=on,wait=off")) == Path("/run/q")
    chardev = "-chardev socket,id=c,path=/run/c,server=on -mon chardev=c,mode=control"
    assert _monitor(line(chardev)) == Path("/run/c")
    assert _monitor(line(chardev.replace("control", "readline"))) is None
    assert _monitor(line("-qmp tcp:localhost:4444")) is None


def test_how_it_is_started_for_a_restore() -> None:
    before = ["qemu-system-x86_64", "-S", "-m", "1", "-incoming", "tcp:0:1"]
    after = ["qemu-system-x86_64", "-m", "1", "-incoming", "defer"]
    assert command_line(before) == after == command_line(after)


def test_where_checkpoints_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert store.vms() == [] and store.checkpoints("web") == []
    for vm in ("web", "../x", ".hidden", "a/b", ""):
        assert store.folder_of(vm).parent == tmp_path / "sparc/qemu"
    with pytest.raises(HostError, match="no checkpoint one"):
        store.checkpoint("a/b", "one")
    store.made_folder("a/b")
    for name in ("one", "../two", ".three"):
        file = store.state_file("a/b", name)
        assert file.parent == store.folder_of("a/b")
        with store.replacing(file) as sink:
            sink.write(b"x")
        assert store.checkpoint("a/b", name).state_file == file
        assert file.stat().st_mode & 0o777 == 0o600
    assert store.vms() == ["a/b"] and len(store.checkpoints("a/b")) == 3
    for wrong in ("", " ", "two\nlines", "x" * 300):
        with pytest.raises(HostError):
            store.state_file("web", wrong)


def test_nothing_is_left_of_a_file_that_was_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store.made_folder("web")
    with pytest.raises(ZeroDivisionError), store.replacing(store.state_file("web", "one")) as sink:
        sink.write(b"x" * (1 << 21))
        raise ZeroDivisionError
    assert list(store.folder_of("web").iterdir()) == []


def test_the_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert store.read_policy("web") == store.Policy("strict", 5000)
    store.write_policy("web", "warn", 7000)
    store.write_policy("web", "off", None)
    assert store.read_policy("web") == store.Policy("off", 7000)
    for text in ("", "{}", '{"policy": "none", "timeout_ms": 1}', "[" * 9999):
        (store.folder_of("web") / "policy.json").write_text(text)
        assert store.read_policy("web") == store.Policy("strict", 5000)


def test_what_lies_beside_a_checkpoint(tmp_path: Path) -> None:
    disk = store.Disk("ide0-hd0", "/x.qcow2", "qcow2", "sparc one", 1, 2)
    machine = store.Machine(
        "web", "u", "11.1.3", ["qemu"], "/", "2026-11-22T20:31:07+00:00", [(0, 1, "r", 0)], [disk]
    )
    file = tmp_path / "one.ckpt"
    store.write_machine(file, machine)
    assert store.read_machine(file) == machine
    path = store.machine_file(file)
    for lie in ("", "{}", path.read_text().replace('"disks"', '"disk"')):
        path.write_text(lie)
        with pytest.raises(HostError, match="cannot be understood"):
            store.read_machine(file)
    assert dataclasses.asdict(machine)["memory"] == [(0, 1, "r", 0)]
