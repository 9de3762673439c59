"""Parts of the audit one by one: forms of a secret, windows, and what meets in the middle."""

from __future__ import annotations

import base64
import os
import random
import signal
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from samples import Make, Search

from sparc.audit import raw as raw_module
from sparc.audit.matcher import Matcher
from sparc.audit.patterns import patterns
from sparc.audit.raw import RawSearch
from sparc.audit.secrets import Secret
from sparc.errors import NotReadable
from tools.bench.savwriter import PAGE

SECRET = b"the-quick-brown-fox"


def forms(value: bytes) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for pattern in patterns([Secret(1, "test", 1, value)]):
        for _, encoding in pattern.owners:
            found.setdefault(encoding, []).append(pattern.value)
    return found


@pytest.mark.parametrize(
    "value", [SECRET, b"abcd", "pässwörd".encode(), b"\xff\xfe\x00\x01\x02binary"]
)
def test_base64_is_found_wherever_the_secret_starts(value: bytes) -> None:
    shapes = forms(value)["base64"]
    for before in range(7):
        for after in range(4):
            text = base64.b64encode(bytes([before] * before) + value + b"\xa5" * after)
            assert any(shape in text for shape in shapes), (before, after)


def test_forms_do_not_start_or_end_with_zeros() -> None:
    found = forms("pässwörd".encode())
    assert found["utf-16le"] == ["pässwörd".encode("utf-16-le")[:-1]]
    assert found["utf-8"] == ["pässwörd".encode()]
    assert found["hex"] == [b"70c3a4737377c3b67264", b"70C3A4737377C3B67264"]


def test_one_pattern_for_what_two_secrets_share() -> None:
    both = patterns([Secret(1, "a", 1, SECRET), Secret(2, "b", 1, SECRET)])
    assert all({number for number, _ in p.owners} == {1, 2} for p in both)


def test_no_secret_in_what_python_shows_of_them() -> None:
    secret = Secret(1, "file", 1, SECRET)
    assert "quick" not in repr(secret) + repr(patterns([secret]))


@pytest.mark.parametrize("helper", [True, False], ids=["both", "back only"])
def test_windows_meet_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: bool
) -> None:
    monkeypatch.setattr(raw_module, "WINDOW", 2 * PAGE)
    if not helper:
        monkeypatch.setattr(raw_module._Search, "from_front", lambda self: None)
    data = bytearray(random.Random(1).randbytes(40 * PAGE + 77))
    # On each seam and between, at the start and at the very end.
    places = [0, *range(PAGE - 9, len(data) - 40, PAGE), len(data) - len(SECRET)]
    for at in places:
        data[at : at + len(SECRET)] = SECRET
    path = tmp_path / "raw"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    search = RawSearch(fd, len(data), str(path), Matcher(patterns([Secret(1, "t", 1, SECRET)])))
    search.help()
    search.wait()
    os.close(fd)
    assert sorted({at for at, _ in search.hits}) == places


def test_a_helper_that_dies_is_no_clean_bill(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(raw_module._Search, "from_front", die)
    with pytest.raises(NotReadable):
        search(make({1: b"x" * PAGE}), [SECRET])


def raw_search(path: Path, data: bytes, size: int | None = None) -> RawSearch:
    path.write_bytes(data)
    matcher = Matcher(patterns([Secret(1, "t", 1, SECRET)]))
    # Left open, as the search uses it to its end.
    return RawSearch(os.open(path, os.O_RDONLY), size or len(data), str(path), matcher)


@pytest.mark.parametrize("written", [0, 4, 8, 24, 32, 40, None])
def test_a_helper_killed_while_it_tells_is_no_clean_bill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    parent, write = os.getpid(), os.write

    def die(pipe: int, data: memoryview) -> int:
        if os.getpid() == parent:
            return write(pipe, data)
        write(pipe, data[:written])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    monkeypatch.setattr(os, "write", die)
    search = raw_search(tmp_path / "raw", bytes(PAGE) + SECRET)
    with pytest.raises(NotReadable):
        search.wait()


@pytest.mark.parametrize("change", [-1, -2, 2])
def test_a_result_of_another_length_than_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    result = raw_module._Search.result

    def other(self: raw_module._Search) -> array[int]:
        whole = result(self)
        return whole[:change] if change < 0 else whole + array("q", [0] * change)

    monkeypatch.setattr(raw_module._Search, "result", other)
    search = raw_search(tmp_path / "raw", bytes(PAGE) + SECRET)
    with pytest.raises(NotReadable):
        search.wait()


def test_a_short_read_is_no_whole_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv

    def short(fd: int, buffers: Sequence[memoryview], offset: int) -> int:
        return preadv(fd, [buffers[0][:1000]], offset)

    monkeypatch.setattr(os, "preadv", short)
    monkeypatch.setattr(raw_module._Search, "from_front", lambda self: None)
    search = raw_search(tmp_path / "raw", bytes(3 * PAGE) + SECRET)
    search.help()
    search.wait()
    assert search.hits == [(3 * PAGE, 0)]


def test_a_file_that_becomes_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_module._Search, "from_front", lambda self: None)
    search = raw_search(tmp_path / "raw", bytes(3 * PAGE), 5 * PAGE)
    with pytest.raises(NotReadable, match="shorter"):
        search.help()
    search.close()


def test_a_file_cut_inside_the_last_mapped_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the helper has mapped reads as zeros then, and nothing fails.
    monkeypatch.setattr(raw_module._Search, "from_front", lambda self: None)
    search = raw_search(tmp_path / "raw", bytes(3 * PAGE) + b"x" * 100)
    (tmp_path / "raw").open("r+b").truncate(3 * PAGE + 50)
    with pytest.raises(NotReadable, match="shorter"):
        search.wait()


def test_of_many_patterns_fewer_hits_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    common = [b"common-%02d" % i for i in range(20)]
    wanted = patterns([Secret(i, "t", i, value) for i, value in enumerate([*common, SECRET], 1)])
    monkeypatch.setattr(Matcher, "MAX_KEPT", 3 * len(wanted))
    matcher = Matcher(wanted)
    numbers = {pattern.value: number for number, pattern in enumerate(wanted)}
    for _ in range(2):
        hits, _ = matcher.scan(b"".join(common) * 2 + SECRET)
    assert matcher.saturated == {numbers[value] for value in common}
    assert [number for _, number in hits].count(numbers[SECRET]) == 1
    assert len(hits) == 20 + 1
