"""The reader of what QEMU writes: real streams of two versions, and what is wrong with others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streams import RAM, SAMPLES, TEXT, sample

from sparc.audit.many import audit_all
from sparc.audit.report import CLEAN, INCOMPLETE, RESIDUE
from sparc.audit.run import audit
from sparc.audit.secrets import given_secrets
from sparc.errors import PageNotStored, SavError
from sparc.qemu.devices import devices
from sparc.qemu.memory import Block, placed
from sparc.qemu.state import StreamState
from sparc.qemu.walk import StreamWalk

_PAGE = 4096


@pytest.mark.parametrize("name", SAMPLES)
def test_memory_by_address(name: str, tmp_path: Path) -> None:
    with StreamState(sample(name, tmp_path)) as state:
        assert state.header.version.startswith("QEMU (pc-i440fx-")
        assert state.memory.ram_ranges() == [(0, RAM)] and state.ram_size == RAM
        assert state.page(2 * _PAGE) == b"A" * _PAGE
        assert state.read(3 * _PAGE, len(TEXT)) == TEXT
        assert state.read(RAM - len(TEXT), len(TEXT)) == TEXT
        assert state.page(5 * _PAGE) == bytes(_PAGE)
        # ROM is not RAM, and is there as a device's own.
        assert [gpa for gpa, _ in state.ram_runs()] == [2 * _PAGE, RAM - _PAGE]
        names = {found.description for found in state.memory.mmio2.values()}
        assert {"pc.bios", "pc.rom"} <= names
        with pytest.raises(PageNotStored):
            state.page(RAM)


@pytest.mark.parametrize("name", SAMPLES)
def test_an_audit_says_where(name: str, tmp_path: Path) -> None:
    path = sample(name, tmp_path)
    report = audit(path, given_secrets([TEXT, b"nowhere at all"]))
    assert report.status == RESIDUE and not report.problems
    assert [(f.secret, f.place, f.address) for f in report.findings] == [
        (1, "ram", 3 * _PAGE),
        (1, "ram", RAM - len(TEXT)),
    ]
    assert audit(path, given_secrets([b"nowhere at all"])).status == CLEAN
    # The same by parts, as many files are searched.
    both = audit_all([str(path), str(path)], given_secrets([TEXT]))
    assert [one.findings for one in both] == [
        [f for f in report.findings if f.secret == 1] for _ in both
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_a_secret_over_the_end_of_a_page(name: str, tmp_path: Path) -> None:
    """In a plain stream there is a header between the two."""
    path = sample(name, tmp_path)
    data = path.read_bytes()
    at = data.index(b"A" * _PAGE) + _PAGE - 8
    path.write_bytes(data[:at] + b"crossing" + data[at + 8 :])
    report = audit(path, given_secrets([b"crossing" + TEXT[:20]]))
    (finding,) = report.findings
    where = ("ram", 3 * _PAGE - 8, 3 * _PAGE, 8)
    assert (finding.place, finding.address, finding.crosses, finding.cut) == where


@pytest.mark.parametrize("name", SAMPLES)
def test_devices_stand_where_they_are_described(name: str, tmp_path: Path) -> None:
    with StreamState(sample(name, tmp_path)) as state:
        found = devices(state.unit_bytes("devices"))
    assert len(found) > 20 and all(device.whole for device in found)
    (card,) = (device for device in found if device.kind == "e1000")
    value = card.value("tx.data")
    assert value is not None and value.size == 1 << 16


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_cut_is_not_clean(name: str, tmp_path: Path) -> None:
    path = sample(name, tmp_path)
    data = path.read_bytes()
    for size in (9, 300, 3000, len(data) // 2):
        path.write_bytes(data[:size])
        assert audit(path, given_secrets([b"nowhere at all"])).status == INCOMPLETE
        with pytest.raises(SavError):
            StreamState(path)


@pytest.mark.parametrize("name", SAMPLES)
def test_no_byte_of_its_structure_makes_the_reader_fail(name: str, tmp_path: Path) -> None:
    """Whatever stands there, it is read, or said to be wrong."""
    path = sample(name, tmp_path)
    data = path.read_bytes()
    for at in range(8, 420, 3):
        changed = bytearray(data)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        with StreamWalk(path) as walk:
            walk.run()
            assert walk.complete or walk.problems


def test_where_memory_is() -> None:
    blocks = [Block("pc.bios", 1 << 18), Block("ram0", 6 << 30), Block("0:2/vga.vram", 1 << 24)]
    low = [(p.gpa, p.size) for p in placed(blocks, "pc-i440fx-7.2", [])]
    assert low == [(0, 0xC0000000), (1 << 32, (6 << 30) - 0xC0000000)]
    low = [(p.gpa, p.size) for p in placed(blocks, "pc-q35-11.1", [])]
    assert low == [(0, 0x80000000), (1 << 32, 4 << 30)]
    # What is noted beside a checkpoint goes before that.
    noted = [(0, 0xA0000, "ram0", 0), (0x100000, 0x3FF00000, "ram0", 0x100000)]
    noted.append((1 << 32, 5 << 30, "ram0", 1 << 30))
    known = [(p.gpa, p.size, p.offset) for p in placed(blocks, "pc-i440fx-7.2", noted)]
    assert known == [(0, 1 << 30, 0), (1 << 32, 5 << 30, 1 << 30)]


def test_what_lies_beside_it_may_be_anything(tmp_path: Path) -> None:
    path = sample("plain-new", tmp_path)
    for text in (
        "",
        "[]",
        "{}",
        '{"memory": 3}',
        '{"memory": [[0, -4096, "ram0", 0]]}',
        "[" * 9999,
    ):
        (tmp_path / "plain-new.machine.json").write_text(text)
        with StreamState(path) as state:
            assert state.ram_size == RAM
    beside = {"memory": [[0, RAM // 2, "ram0", 0], [1 << 32, RAM // 2, "ram0", RAM // 2]]}
    (tmp_path / "plain-new.machine.json").write_text(json.dumps(beside))
    with StreamState(path) as state:
        assert state.memory.ram_ranges() == [(0, RAM // 2), (1 << 32, RAM // 2)]
        assert state.read((1 << 32) + RAM // 2 - len(TEXT), len(TEXT)) == TEXT
