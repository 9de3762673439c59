"""Saved states written anew with changes: everything else, and every checksum, as it should be."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import DATA, Make, write_state

from sparc.errors import PageNotStored
from sparc.sav.changes import Changes
from sparc.sav.index import RAM, Space
from sparc.sav.record import decode_record, record_size
from sparc.sav.splice import encode_record, splice
from sparc.sav.state import SavedState
from sparc.sav.walk import Walk
from tools.bench.savwriter import PAGE


def rewritten(changes: Changes, out: Path) -> Path:
    """The file with the changes; it is whole and every checksum in it right."""
    fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        splice(changes.state, changes.edits(), fd)
    finally:
        os.close(fd)
    with Walk(out) as walk:
        walk.run()
        assert walk.problems == []
        assert walk.clean
    return out


def contents(state: SavedState) -> dict[object, bytes]:
    """All that a restore loads."""
    found: dict[object, bytes] = {}
    for space in state.spaces():
        for page in state.index.pages(space).tolist():
            found[space, page] = state.space_page(space, page)
    for unit in state.units:
        if unit.name != "pgm":
            found[unit.name, unit.instance, unit.pass_] = b"".join(state.unit_content(unit))
    return found


def differing(one: dict[object, bytes], other: dict[object, bytes]) -> list[object]:
    """What the two do not agree on."""
    return [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]


def shape(state: SavedState) -> list[object]:
    """Units, and every page record in its order, by kind."""
    _, page, count, kind, range_id = state.index.rows()
    each = [np.repeat(column, count).tolist() for column in (kind, range_id)]
    first = [p + i for p, c in zip(page.tolist(), count.tolist(), strict=True) for i in range(c)]
    units = [(u.name, u.instance, u.version, u.pass_, u.content) for u in state.units]
    return [units, first, *each]


def check(path: Path, out: Path, blank: Iterable[int], writes: Iterable[tuple[int, bytes]]) -> None:
    """Only what was asked for differs."""
    with SavedState(path) as state:
        changes = Changes(state)
        changes.blank(blank)
        for address, data in writes:
            changes.write(address, data)
        expected = contents(state)
        for page in changes.touched().tolist():
            expected[RAM, page] = changes.content(page)
        with SavedState(rewritten(changes, out)) as new:
            assert differing(contents(new), expected) == []
            assert shape(new) == shape(state)
            assert new.header == state.header


def test_without_changes_it_is_the_same_file(sample: Path, tmp_path: Path) -> None:
    with SavedState(sample) as state:
        out = tmp_path / "out.sav"
        fd = os.open(out, os.O_RDWR | os.O_CREAT)
        splice(state, [], fd)
        os.close(fd)
    assert out.read_bytes() == sample.read_bytes()


def test_pages_become_zeros_and_nothing_else(sample: Path, tmp_path: Path) -> None:
    check(sample, tmp_path / "out.sav", [0, 7, 0x9F, 0xFF1, 5000, 1 << 30], [])


def test_all_pages(sample: Path, tmp_path: Path) -> None:
    check(sample, tmp_path / "out.sav", range(4096), [])


def test_bytes_in_pages(sample: Path, tmp_path: Path) -> None:
    writes = [(0x6FFE, b"abcd"), (0x10, bytes(16)), (0x20, b"x"), (0xFF0800, b"y" * 2100)]
    check(sample, tmp_path / "out.sav", [0xFF1], writes)


def test_earlier_copies_are_always_blanked(make: Make, tmp_path: Path) -> None:
    old, new = b"old" * 1365 + b"!", b"new" * 1365 + b"!"
    stays = random.Random(1).randbytes(PAGE)
    path = make({1: new}, passes=[{1: old, 2: old, 3: stays, 4: stays}, {2: bytes(PAGE)}])
    with SavedState(path) as state:
        out = rewritten(Changes(state), tmp_path / "out.sav")
    data = out.read_bytes()
    with SavedState(out) as state:
        assert [state.page(n * PAGE) for n in (1, 2, 3)] == [new, bytes(PAGE), stays]
        for number in range(len(state.index)):
            page, offset = state.index.page[number], state.index.offset[number]
            if offset and page in (1, 2):
                head = data[offset : offset + 5000]
                size, count = record_size(head, 1)
                body = head[1 + count : 1 + count + size]
                copy = decode_record(head[0] & 0x0F, body, offset)
                last = state.index.table(RAM)[page] == number + 1
                assert copy == (state.page(page * PAGE) if last else bytes(PAGE))


def test_long_runs(make: Make, tmp_path: Path) -> None:
    raw = [random.Random(i).randbytes(PAGE) for i in range(17)]
    pages = {i: raw[i % 17] for i in range(3000)}
    path = make(pages, ram=3000 * PAGE)
    blank = [0, 1, 2, 5, *range(100, 2200), 2999]
    check(path, tmp_path / "out.sav", blank, [(7 * PAGE + 9, b"here"), (2500 * PAGE, bytes(PAGE))])


def test_without_stream_checksum(make: Make, tmp_path: Path) -> None:
    path = make({1: b"a" * PAGE, 2: b"b" * PAGE}, {"pckbd": b"keys"}, stream_crc=False)
    check(path, tmp_path / "out.sav", [2], [])


def test_parts_of_a_unit(sample: Path, tmp_path: Path) -> None:
    with SavedState(sample) as state:
        changes = Changes(state)
        unit = state.unit("DisplayScreenshot")
        changes.write_unit(unit, 5, b"12345")
        changes.write_unit(unit, 4090, bytes(5000))
        before = state.unit_bytes("DisplayScreenshot")
        assert len(before) > 9090
        expected = contents(state)
        changed = before[:5] + b"12345" + before[10:4090] + bytes(5000) + before[9090:]
        expected[unit.name, unit.instance, unit.pass_] = changed
        with SavedState(rewritten(changes, tmp_path / "out.sav")) as new:
            assert differing(contents(new), expected) == []


def test_a_page_of_a_range(sample: Path, tmp_path: Path) -> None:
    with SavedState(sample) as state:
        vram = next(r for r in state.memory.mmio2.values() if r.description == "VRam")
        space = Space("mmio2", vram.id)
        changes = Changes(state)
        changes.blank(range(vram.size // PAGE), space)
        expected = contents(state)
        for page in state.index.pages(space).tolist():
            expected[space, page] = bytes(PAGE)
        assert expected != contents(state)
        with SavedState(rewritten(changes, tmp_path / "out.sav")) as new:
            assert differing(contents(new), expected) == []


def test_what_is_not_stored_cannot_be_written_to() -> None:
    with SavedState(DATA / "plain.sav") as state, pytest.raises(PageNotStored):
        Changes(state).erase(0xA0000, 10)


@pytest.mark.parametrize("size", [1, 127, 128, 1000, 2047, 2048, 4096])
def test_records_can_be_read_again(size: int) -> None:
    for data in (bytes(size), b"ab" * (size // 2) + b"c" * (size % 2)):
        for compress in (True, False):
            whole = encode_record(data, compress=compress)
            length, count = record_size(whole, 1)
            assert len(whole) == 1 + count + length
            assert decode_record(whole[0] & 0x0F, whole[1 + count :], 0) == data


_PAGES = st.sampled_from(
    [bytes(PAGE), b"\x11" * PAGE, b"text " * 819 + b"!", *(os.urandom(PAGE) for _ in range(3))]
)
_CONTENT = st.dictionaries(st.integers(0, 40), _PAGES, max_size=30)


@settings(max_examples=150, deadline=None)
@given(
    last=_CONTENT,
    passes=st.lists(_CONTENT, max_size=3),
    blank=st.sets(st.integers(0, 63)),
    writes=st.lists(
        st.tuples(st.integers(0, 41 * PAGE), st.binary(min_size=1, max_size=9000)), max_size=4
    ),
    stream_crc=st.booleans(),
)
def test_any_state_and_any_changes(
    last: dict[int, bytes],
    passes: list[dict[int, bytes]],
    blank: set[int],
    writes: list[tuple[int, bytes]],
    stream_crc: bool,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.sav"
        path = write_state(made, last, passes=passes, stream_crc=stream_crc)
        with SavedState(path) as state:
            stored = {p for p in state.ram_pages() if state.page(p * PAGE) != bytes(PAGE)}
        writes = [
            (address, data)
            for address, data in writes
            if set(range(address // PAGE, (address + len(data) - 1) // PAGE + 1)) <= stored
        ]
        check(path, Path(folder) / "out.sav", blank, writes)
