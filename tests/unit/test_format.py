"""Saved states made to order: several passes, many CPUs, memory above 4 GB, and what is refused."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from samples import DATA, Make

from sparc.errors import (
    Damaged,
    LimitExceeded,
    NotASavedState,
    NotReadable,
    PageNotStored,
    SavError,
    Unsupported,
)
from sparc.sav.index import PageIndex, Space
from sparc.sav.state import SavedState
from tools.bench.savwriter import PAGE, SavWriter

FOUR_GB = 1 << 32


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(50) + bytes([seed]) * (PAGE - 50)


@pytest.mark.parametrize("cpus", [1, 2, 3, 8, 64])
def test_any_number_of_cpus(make: Make, cpus: int) -> None:
    with SavedState(make({1: noise(1)}, cpus=cpus)) as state:
        assert state.memory.cpus == cpus
        assert state.page(PAGE) == noise(1)


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_a_live_save_whose_final_pass_has_no_pages(make: Make, cpus: int) -> None:
    with SavedState(make({}, passes=[{1: noise(1)}], cpus=cpus)) as state:
        assert state.memory.cpus == cpus
        assert state.page(PAGE) == noise(1)


def test_later_passes_win(make: Make) -> None:
    passes = [{1: noise(1), 2: noise(2), 3: noise(3)}, {2: noise(4)}, {3: bytes(PAGE), 1: noise(5)}]
    with SavedState(make({2: noise(6)}, passes=passes)) as state:
        assert state.header.live
        assert [state.page(n * PAGE) for n in (1, 2, 3)] == [noise(5), noise(6), bytes(PAGE)]
        assert state.memory.index.counts()["ram_raw"] == 6
        assert [address for address, _ in state.ram_runs()] == [PAGE, 2 * PAGE]


def test_without_stream_checksum(make: Make) -> None:
    with SavedState(make({1: noise(1)}, {"pckbd": b"keys"}, stream_crc=False)) as state:
        assert not state.header.stream_crc
        assert state.unit_bytes("pckbd") == b"keys"


def test_ram_above_the_hole(tmp_path: Path) -> None:
    writer = SavWriter()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed()
    hole = 512 << 20
    writer.pgm_config(FOUR_GB - hole + 8 * PAGE, hole)
    first = FOUR_GB // PAGE
    for page in (0, 1, first, first + 1, first + 7):
        writer.ram(page, noise(page % 251))
    writer.ballooned(first + 5)
    writer.pgm_end()
    path = tmp_path / "large.sav"
    path.write_bytes(writer.finish())
    with SavedState(path) as state:
        assert state.memory.ram_ranges() == [(0, FOUR_GB - hole), (FOUR_GB, 8 * PAGE)]
        assert state.page(FOUR_GB + 7 * PAGE) == noise((first + 7) % 251)
        assert state.page(FOUR_GB + 5 * PAGE) == bytes(PAGE)
        assert state.memory.index.counts()["ram_ballooned"] == 1
        with pytest.raises(PageNotStored):
            state.page(FOUR_GB - hole)


def test_long_runs_of_raw_and_zero_pages(make: Make) -> None:
    raw = [random.Random(i).randbytes(PAGE) for i in range(39)]
    pages = {i: raw[i % len(raw)] for i in range(2000)} | {
        i: bytes(PAGE) for i in range(2000, 9000)
    }
    pages |= {9000: raw[3]}
    with SavedState(make(pages, ram=9001 * PAGE)) as state:
        # One row for a run inside a window, not one for each page.
        assert len(state.memory.index) < 20
        for number in (0, 1, 2, 999, 1998, 1999, 2000, 8999, 9000):
            assert state.page(number * PAGE) == pages[number], number
        whole = b"".join(data for _, data in state.ram_runs())
        assert whole == b"".join(pages[i] for i in (*range(2000), 9000))


def test_shadowed_rom_has_two_sides(tmp_path: Path) -> None:
    writer = SavWriter()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed()
    writer.pgm_config(1 << 20, roms=[("BIOS", 0xF0000, 2 * PAGE)])
    writer.ranged(4, 1, 0, noise(1), 1)
    writer.ranged(4, 1, 1, noise(2), 1)
    writer.ranged(5, 1, 0, noise(3), 2)
    writer.ranged(6, 1, 1, None, 2)
    writer.ranged(7, 1, 0, None, 2)
    writer.pgm_end()
    path = tmp_path / "rom.sav"
    path.write_bytes(writer.finish())
    with SavedState(path) as state:
        assert state.spaces() == [Space("rom", 1), Space("shadow", 1)]
        assert state.space_page(Space("rom", 1), 1) == noise(2)
        assert state.space_page(Space("shadow", 1), 0) == noise(3)
        assert state.space_page(Space("shadow", 1), 1) == bytes(PAGE)


def refused(tmp_path: Path, data: bytes) -> SavError:
    path = tmp_path / "refused.sav"
    path.write_bytes(data)
    with pytest.raises(SavError) as caught:
        SavedState(path)
    return caught.value


def test_other_formats_are_named(tmp_path: Path) -> None:
    for version in ("1.1", "1.2", "3.0"):
        error = refused(
            tmp_path, f"\x7fVirtualBox SavedState V{version}\n".encode("latin-1").ljust(200, b"\0")
        )
        assert isinstance(error, Unsupported) and error.version == version


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"", "empty"),
        (b"\x7fELF" + bytes(100), ""),
        (random.Random(1).randbytes(9000), "encrypted"),
    ],
    ids=["empty", "another magic", "random"],
)
def test_what_is_no_saved_state(tmp_path: Path, data: bytes, looks: str) -> None:
    error = refused(tmp_path, data)
    assert isinstance(error, NotASavedState) and error.looks == looks


def test_another_pgm_version_is_named(tmp_path: Path) -> None:
    writer = SavWriter()
    writer.begin("pgm", 1, 13)
    writer.pgm_fixed()
    writer.pgm_config(1 << 20)
    writer.pgm_end()
    error = refused(tmp_path, writer.finish())
    assert isinstance(error, Unsupported) and (error.version, error.known) == (13, 14)


def test_more_ram_than_can_be_indexed_is_refused(tmp_path: Path) -> None:
    writer = SavWriter()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed()
    writer.pgm_config(1 << 50)
    writer.pgm_end()
    assert isinstance(refused(tmp_path, writer.finish()), LimitExceeded)


def test_more_runs_than_fit_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PageIndex, "MAX_ROWS", 10)
    path = make({i: noise(i) for i in range(0, 60, 2)})
    with pytest.raises(LimitExceeded):
        SavedState(path)


@pytest.mark.parametrize(
    "stream",
    [
        b"\x81" + struct.pack("<Q", 1 << 30) + b"\xff",  # outside RAM
        b"\x80" + struct.pack("<Q", 0x123) + b"\xff",  # not aligned
        b"\x00\xff",  # the page after none
        b"\x09\xff",  # no such type
        b"\x83\x07" + struct.pack("<I", 0) + b"\xff",  # no such range
        b"\x83\x01" + struct.pack("<I", 4) + b"\xff",  # behind the range's end
        b"\x80" + struct.pack("<Q", 255 * PAGE) + b"\x00\xff",  # the page after the last
        b"\x83\x01" + struct.pack("<I", 0) + b"\x00\xff",  # RAM after a range, without address
        b"\xff\xff",  # more after the end
        b"",  # no end
    ],
)
def test_page_records_that_lead_nowhere(tmp_path: Path, stream: bytes) -> None:
    writer = SavWriter()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed()
    writer.pgm_config(256 * PAGE, mmio2=[("VRam", 4 * PAGE)])
    writer.put(stream)
    writer.end()
    assert isinstance(refused(tmp_path, writer.finish()), Damaged | Unsupported)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    data = (DATA / "savestate.sav").read_bytes()
    for size in [
        *range(0, 1000, 61),
        *range(1000, len(data), 9973),
        *range(len(data) - 700, len(data), 23),
    ]:
        refused(tmp_path, data[:size])


def test_only_regular_files(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/zero"), tmp_path / "missing", Path("nul\0byte")):
        with pytest.raises(NotReadable):
            SavedState(path)
