"""The reader against files that VirtualBox 7.2.22 wrote."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from pathlib import Path

import pytest
from samples import DATA

from sparc.errors import Damaged, PageNotStored, UnitNotFound
from sparc.sav import c_pgm, c_ssm, record
from sparc.sav.index import Space
from sparc.sav.state import SavedState
from sparc.sav.stream import Stream
from sparc.sav.walk import Walk

PAGE = 4096


def test_all_checksums_of_a_real_file_are_right(sample: Path) -> None:
    with Walk(sample) as walk:
        walk.run()
    assert walk.problems == []
    assert walk.complete
    assert walk.header is not None and walk.header.version == "7.2.22"
    assert walk.header.live == (sample.stem == "live")


def test_ram_equals_the_core_of_the_same_pause() -> None:
    digests = json.loads((DATA / "plain.ram.json").read_text())
    assert len(digests) > 1
    with SavedState(DATA / "plain.sav") as state:
        pages = state.ram_pages()
        # 16 MB, without the window between 640 KB and 1 MB.
        assert len(pages) == 4096 - 96
        for page in pages:
            data = state.page(page * PAGE)
            expected = digests.get(f"{page * PAGE:#x}")
            if expected is None:
                assert data == bytes(PAGE), hex(page)
            else:
                assert hashlib.sha256(data).hexdigest() == expected, hex(page)


def test_runs_hold_what_pages_hold(sample: Path) -> None:
    with SavedState(sample) as state:
        runs = {a + i: d[i : i + PAGE] for a, d in state.ram_runs() for i in range(0, len(d), PAGE)}
        pages = {p * PAGE: state.page(p * PAGE) for p in state.ram_pages()}
    assert runs == {address: data for address, data in pages.items() if any(data)}


def test_memory_configuration(sample: Path) -> None:
    with SavedState(sample) as state:
        memory = state.memory
        assert (memory.size, memory.hole, memory.cpus) == (16 << 20, 512 << 20, 1)
        assert memory.ram_ranges() == [(0, 16 << 20)]
        roms = {r.description: (r.address, r.size) for r in memory.roms.values()}
        assert roms["PC BIOS - 0xfffff"] == (0xF0000, 0x10000)
        assert [r.description for r in memory.mmio2.values()] == ["VMMDev", "VMMDev Heap", "VRam"]


def test_a_range_is_read_by_page(sample: Path) -> None:
    with SavedState(sample) as state:
        number = next(
            r.id for r in state.memory.roms.values() if r.description == "PC BIOS - 0xffffffff"
        )
        bios = b"".join(state.space_page(Space("rom", number), page) for page in range(16))
        # The reset vector: a far jump into the BIOS.
        assert bios[-16:-11] == b"\xea\x5b\xe0\x00\xf0"
        vram = next(r for r in state.memory.mmio2.values() if r.description == "VRam")
        assert len(state.space_page(Space("mmio2", vram.id), 0)) == PAGE
        with pytest.raises(PageNotStored):
            state.space_page(Space("mmio2", vram.id), vram.size // PAGE)


def test_units_by_name(sample: Path) -> None:
    with SavedState(sample) as state:
        assert b"Build Type" in state.unit_bytes("SSM")
        assert b"\x89PNG" in state.unit_bytes("DisplayScreenshot")
        assert state.unit("pgm").pass_ == c_ssm.PASS_FINAL
        for unit in state.units:
            if unit.name != "pgm":
                assert sum(map(len, state.unit_content(unit))) == unit.content
        with pytest.raises(UnitNotFound):
            state.unit("no such unit")


def test_reading_across_pages_and_outside_ram() -> None:
    with SavedState(DATA / "plain.sav") as state:
        whole = state.page(0x7000) + state.page(0x8000)
        assert state.read(0x7F80, 0x100) == whole[0xF80:0x1080]
        for address in (0xF0000, 16 << 20, 1 << 40):
            with pytest.raises(PageNotStored):
                state.page(address)


@pytest.mark.parametrize("offset", [60, 300, 20_000, 200_000, -20])
def test_a_changed_bit_is_damage(tmp_path: Path, offset: int) -> None:
    data = bytearray((DATA / "plain.sav").read_bytes())
    data[offset] ^= 4
    path = tmp_path / "flipped.sav"
    path.write_bytes(data)
    with pytest.raises(Damaged):
        SavedState(path)


def test_a_wrong_checksum_alone_can_be_overlooked(tmp_path: Path) -> None:
    data = bytearray((DATA / "plain.sav").read_bytes())
    with SavedState(DATA / "plain.sav") as state:
        unit = state.unit("pckbd")
    data[unit.data_offset + 10] ^= 4
    path = tmp_path / "flipped.sav"
    path.write_bytes(data)
    with SavedState(path, verify=False) as state:
        assert all(isinstance(p, Damaged) and p.checksum for p in state.problems)
        assert state.problems


def test_a_failed_walk_is_freed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "cut.sav"
    path.write_bytes((DATA / "plain.sav").read_bytes()[:150_000])
    gc.disable()
    try:
        with Walk(path) as walk:
            walk.run()
        assert isinstance(walk.problems[0], Damaged)
        alive = weakref.ref(walk.stream)
        del walk
        assert alive() is None
    finally:
        gc.enable()


def test_record_lengths_short_long_and_malformed() -> None:
    assert record.record_size(b"\x05", 0) == (5, 1)
    assert record.record_size(b"\xc2\x80", 0) == (0x80, 2)
    assert record.record_size(b"\xe1\x80\x80", 0) == (4096, 3)
    assert record.record_size(b"\xe0\x80\x85", 0) == (5, 3)  # over-long
    assert record.record_size(b"\xf0\x90\x80\x80", 0) == (0x10000, 4)
    assert record.record_size(b"\xf8\x88\x80\x80\x80", 0) == (0x200000, 5)
    assert record.record_size(b"\xfd\xbf\xbf\xbf\xbf\xbf", 0) == (0x7FFFFFFF, 6)
    for bad in (b"\x80", b"\xbf", b"\xfe", b"\xff", b"\xc2\x00", b"\xe1\x80\xc0"):
        assert record.record_size(bad, 0) == (0, 0)


def test_the_window_slides_over_a_file_of_any_size(tmp_path: Path) -> None:
    path = tmp_path / "long"
    data = bytes(range(251)) * 40_000  # 10 MB
    path.write_bytes(data)
    with Stream(path) as stream:
        got = b""
        while chunk := stream.take(min(50_001, len(data) - len(got)), "test"):
            got += chunk
        assert got == data
        assert stream.tell() == len(data)
        assert len(stream.buf) < 6 << 20


def test_constants_agree_with_the_structures() -> None:
    assert c_ssm.file_header.sizeof() == 64
    assert c_ssm.unit_header.sizeof() == 44
    assert c_ssm.footer.sizeof() == 32
    # 25 + 53 bytes for each CPU stand before the configuration.
    assert (c_pgm.FIXED_SIZE, c_pgm.CPU_SIZE) == (25, 53)
