"""Parts of the audit one by one: forms of a secret, windows, and what meets in the middle."""

from __future__ import annotations

import base64
import os
import random
import signal
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
    monkeypatch.setattr(raw_module, "_WINDOW", 2 * PAGE)
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
