"""`sparc scrub`: what it takes out, that nothing else changes, and that failures change nothing."""

from __future__ import annotations

import base64
import errno
import fcntl
import gzip
import json
import os
import random
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from samples import DATA, Make, Search

from sparc.cli.main import main
from sparc.errors import KernelNotRead
from sparc.kernel.program import open_kernel
from sparc.sav.index import Space
from sparc.sav.splice import splice
from sparc.sav.state import SavedState
from sparc.scrub import replace, run, screen
from tools.bench.savwriter import PAGE

SECRET = b"do-not-print-me-4711"
NOISE = [random.Random(i).randbytes(PAGE) for i in range(8)]

Scrub = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def scrub(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Scrub:
    """Runs the command: exit status, its JSON, and what it complained of."""

    def command(path: Path, *args: object, secret: bytes = b"") -> tuple[int, dict[str, Any], str]:
        options = [str(arg) for arg in args]
        if secret:
            listed = tmp_path / "secrets"
            listed.write_bytes(secret + b"\n")
            options += ["--secret-file", str(listed)]
        with pytest.raises(SystemExit) as end:
            main(["scrub", str(path), "--json", *options])
        out, err = capfd.readouterr()
        assert SECRET.decode() not in out + err
        return int(end.value.code or 0), json.loads(out) if out else {}, err

    return command


def page(*pieces: tuple[int, bytes]) -> bytes:
    """A page of noise with these pieces in it."""
    data = bytearray(NOISE[0])
    for at, piece in pieces:
        data[at : at + len(piece)] = piece
    return bytes(data)


def leftovers(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} - {"made.sav", "secrets"}


FORMS = [
    SECRET,
    SECRET.decode().encode("utf-16le"),
    SECRET.decode().encode("utf-32le"),
    b"".join(bytes([byte, 7]) for byte in SECRET),
    base64.b64encode(SECRET),
    base64.b64encode(b"x" + SECRET),
    SECRET.hex().encode(),
]


@pytest.mark.parametrize("passes", [[], [{5: page((9, SECRET)), 1: NOISE[4]}]], ids=["", "live"])
def test_only_the_secrets_bytes_go(
    make: Make, scrub: Scrub, search: Search, passes: list[dict[int, bytes]]
) -> None:
    pages = {i: page((100 + i, form)) for i, form in enumerate(FORMS, 10)}
    # Over the ends of pages, neighbours and not; and what compresses.
    pages |= {1: page((PAGE - 7, SECRET[:7])), 2: page((0, SECRET[7:]))}
    pages |= {4: page((0, SECRET[9:])), 40: page((PAGE - 9, SECRET[:9]))}
    pages |= {50: SECRET.ljust(PAGE, b"."), 60: NOISE[1]}
    path = make(pages, {"piix3ide": b"[" + SECRET + b"]", "pckbd": b"keys"}, passes=passes)
    assert search(path, [SECRET]).status == 1
    status, report, err = scrub(path, secret=SECRET)
    assert (status, report["status"], report["written"], err) == (0, "clean", True, "")
    assert search(path, [SECRET]).findings == []
    # Base64 keeps the characters that also depend on what stands around.
    for i, form in enumerate(FORMS, 10):
        with SavedState(path) as state:
            now = state.page(i * PAGE)
        assert now[: 100 + i] == pages[i][: 100 + i]
        assert now[100 + i + len(form) :] == pages[i][100 + i + len(form) :]
    with SavedState(path) as state:
        assert state.page(PAGE) == pages[1][: PAGE - 7] + bytes(7)
        assert state.page(2 * PAGE) == bytes(len(SECRET) - 7) + pages[2][len(SECRET) - 7 :]
        assert state.page(50 * PAGE) == bytes(len(SECRET)).ljust(PAGE, b".")
        assert state.page(60 * PAGE) == NOISE[1]
        assert state.unit_bytes("piix3ide") == b"[" + bytes(len(SECRET)) + b"]"
        assert state.unit_bytes("pckbd") == b"keys"
    assert scrub(path, secret=SECRET)[1]["written"] is False


def test_whole_pages_on_demand(make: Make, scrub: Scrub) -> None:
    path = make({1: page((7, SECRET)), 2: NOISE[1]})
    status, report, _ = scrub(path, "--whole-pages", secret=SECRET)
    assert (status, report["kinds"]["secrets"]) == (0, {"pages": 1, "bytes": 0})
    with SavedState(path) as state:
        assert (state.page(PAGE), state.page(2 * PAGE)) == (bytes(PAGE), NOISE[1])


def test_compressed_data_around_a_secret_goes_as_a_whole(
    make: Make, scrub: Scrub, search: Search
) -> None:
    packed = gzip.compress(NOISE[3] + SECRET + NOISE[4] + NOISE[5][:2000])
    assert 2 * PAGE < len(packed) < 4 * PAGE
    behind = b"what stands behind it"
    whole = (bytes(90) + packed + behind).ljust(4 * PAGE, b"!")
    pages = {8 + i: whole[i * PAGE : (i + 1) * PAGE] for i in range(4)}
    path = make(pages, {"DisplayScreenshot": b"abc" + zlib.compress(SECRET * 9) + b"xyz"})
    assert len(search(path, [SECRET]).findings) > 1
    assert scrub(path, secret=SECRET)[0] == 0
    assert search(path, [SECRET]).findings == []
    with SavedState(path) as state:
        after = b"".join(state.page((8 + i) * PAGE) for i in range(4))
        assert after[: 90 + len(packed)] == bytes(90 + len(packed))
        assert after[90 + len(packed) :] == whole[90 + len(packed) :]
        unit = state.unit_bytes("DisplayScreenshot")
        assert unit.startswith(b"abc") and unit.endswith(b"xyz")


def test_a_secret_in_more_places_than_are_listed(make: Make, scrub: Scrub, search: Search) -> None:
    # 204 in each of 60 pages: an audit lists 10,000.
    path = make({i: (SECRET * 204).ljust(PAGE, b"\1") for i in range(60)})
    assert search(path, [SECRET]).more
    assert scrub(path, secret=SECRET)[0] == 0
    assert search(path, [SECRET]).status == 0


def test_where_virtualbox_compares_nothing_is_changed(make: Make, scrub: Scrub) -> None:
    path = make({1: page((7, SECRET))}, {"HGCM": b"[" + SECRET + b"]"})
    before = path.read_bytes()
    status, _, err = scrub(path, secret=SECRET)
    assert status == 2
    assert "HGCM" in err
    assert path.read_bytes() == before
    assert leftovers(path.parent) == set()


def test_pages_and_extents(make: Make, scrub: Scrub) -> None:
    path = make({i: NOISE[i % 8] for i in range(1, 200)})
    argv = ["--page", "3,0x5", "--pages", "0x10-0x1f", "--extent", "0x20ff0+0x20"]
    status, report, _ = scrub(path, *argv)
    assert (status, report["written"]) == (0, True)
    assert report["kinds"] == {
        "pages": {"pages": 18, "bytes": 0},
        "extents": {"pages": 0, "bytes": 32},
    }
    with SavedState(path) as state:
        for number in range(1, 200):
            expected = NOISE[number % 8]
            if number in (3, 5, *range(0x10, 0x20)):
                expected = bytes(PAGE)
            if number == 0x20:
                expected = expected[:-16] + bytes(16)
            if number == 0x21:
                expected = bytes(16) + expected[16:]
            assert state.page(number * PAGE) == expected, number


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--page", "x"],
        ["--pages", "5"],
        ["--pages", "9-3"],
        ["--extent", "0x1000"],
        ["--extent", "0x1000+0"],
        ["--extent", "-1+5"],
        ["--page", "100000000"],
        ["--extent", "0xa0000+1"],
        ["--no-such-option"],
    ],
)
def test_what_cannot_be_meant(make: Make, scrub: Scrub, argv: list[str]) -> None:
    path = make({1: NOISE[1]})
    before = path.read_bytes()
    assert scrub(path, *argv)[0] == 2
    assert path.read_bytes() == before


def test_dry_run_writes_nothing(make: Make, scrub: Scrub) -> None:
    path = make({1: page((7, SECRET))})
    before, status = path.read_bytes(), path.stat()
    code, report, _ = scrub(path, "--dry-run", "--page", 1, secret=SECRET)
    assert (code, report["written"], report["dry_run"]) == (0, False, True)
    assert report["kinds"]["secrets"]["bytes"] == len(SECRET)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, status.st_mtime_ns)


def test_the_new_file_is_its_owners_alone(make: Make, scrub: Scrub) -> None:
    path = make({1: NOISE[1]})
    path.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(path, 12345, 23456)
    before = path.stat()
    assert scrub(path, "--page", 1)[0] == 0
    after = path.stat()
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert leftovers(path.parent) == set()


def test_the_old_files_blocks_are_overwritten(
    make: Make, scrub: Scrub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make({i: page((7, SECRET)) for i in range(100)})
    before = path.read_bytes()
    monkeypatch.setattr(replace, "_others_have_it_open", lambda fd: False)
    with path.open("rb") as old:
        assert scrub(path, secret=SECRET)[0] == 0
        now = old.read()
    assert len(now) == len(before)
    assert all(now[i : i + 16] != before[i : i + 16] for i in range(0, len(now) - 16, 16))


def test_an_interrupt_while_the_old_blocks_are_overwritten_is_told(
    make: Make, scrub: Scrub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make({1: NOISE[1]})

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replace.Replacement, "_overwrite", interrupt)
    status, report, _ = scrub(path, "--page", 1)
    assert (status, report["written"]) == (1, True)
    assert [one["kind"] for one in report["left"]] == ["old file"]


def test_a_link_is_followed_and_stays(make: Make, scrub: Scrub, tmp_path: Path) -> None:
    path = make({1: NOISE[1]})
    link = tmp_path / "link.sav"
    link.symlink_to(path.name)
    assert scrub(link, "--page", 1)[0] == 0
    assert link.is_symlink()
    with SavedState(path) as state:
        assert state.page(PAGE) == bytes(PAGE)


def test_other_names_of_the_file_are_not_destroyed(
    make: Make, scrub: Scrub, tmp_path: Path
) -> None:
    path = make({1: NOISE[1]})
    os.link(path, tmp_path / "backup.sav")
    before = path.read_bytes()
    status, _, err = scrub(path, "--page", 1)
    assert (status, path.read_bytes()) == (2, before)
    assert "2 names" in err


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_a_file_in_use_is_refused(make: Make, scrub: Scrub, mode: str) -> None:
    path = make({1: NOISE[1]})
    before = path.read_bytes()
    with path.open(mode):
        status, _, err = scrub(path, "--page", 1)
    assert (status, path.read_bytes()) == (2, before)
    assert "has it open" in err
    assert scrub(path, "--page", 1)[0] == 0


def test_without_leases_processes_are_looked_through(
    make: Make, scrub: Scrub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make({1: NOISE[1]})

    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "no leases here")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    pid = os.fork()
    if not pid:
        with path.open("rb"):
            os.read(0, 0)
            os.kill(os.getpid(), 19)
        os._exit(0)
    try:
        os.waitpid(pid, os.WUNTRACED)
        assert scrub(path, "--page", 1)[0] == 2
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert scrub(path, "--page", 1)[0] == 0


@pytest.mark.parametrize("where", ["write", "verify", "changed", "rename", "unnamed"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    make: Make, scrub: Scrub, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    path = make({1: page((7, SECRET)), 2: NOISE[2]})
    before = path.read_bytes()

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    def wrong(*args: Any) -> None:
        original(*args)
        os.pwrite(args[2], b"wrong", 90)

    def late(*args: Any) -> None:
        original(*args)
        os.utime(path, ns=(1, 1))

    original = splice
    if where == "write":
        monkeypatch.setattr("sparc.sav.splice.os.writev", full)
    elif where == "verify":
        monkeypatch.setattr(run, "splice", wrong)
    elif where == "changed":
        monkeypatch.setattr(run, "splice", late)
    else:
        monkeypatch.setattr(Path, "replace", full)
    if where == "unnamed":
        # As on file systems that cannot make a file without a name.
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR, raising=False)
    status, _, err = scrub(path, "--page", 2, secret=SECRET)
    assert status == 2, err
    assert path.read_bytes() == before
    assert leftovers(path.parent) == set()


def test_without_unnamed_files_it_works_too(
    make: Make, scrub: Scrub, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make({1: NOISE[1]})
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_RDWR)
    assert scrub(path, "--page", 1)[0] == 0
    assert leftovers(path.parent) == set()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", [0, 100, -40])
def test_what_is_damaged_is_not_rewritten(make: Make, scrub: Scrub, cut: int) -> None:
    path = make({1: NOISE[1]})
    before = path.read_bytes()[:cut]
    path.write_bytes(before)
    assert scrub(path, "--page", 1)[0] == 2
    assert path.read_bytes() == before


def test_a_screen_of_text_keeps_its_fonts(sample: Path, scrub: Scrub, tmp_path: Path) -> None:
    path = tmp_path / "made.sav"
    path.write_bytes(sample.read_bytes())
    with SavedState(path) as state:
        vram = next(r for r in state.memory.mmio2.values() if r.description == "VRam")
        space = Space("mmio2", vram.id)
        before = [state.space_page(space, n) for n in range(vram.size // PAGE)]
        picture = state.unit_bytes("DisplayScreenshot")
    assert any(data[0::4].strip(b"\0") for data in before[:8])
    status, report, _ = scrub(path, "--screen")
    assert (status, report["written"]) == (0, True)
    with SavedState(path) as state:
        for number, data in enumerate(before):
            now = state.space_page(space, number)
            if number < 64:
                assert not any(now[0::4]) and not any(now[1::4])
                assert now[2::4] == data[2::4]
            else:
                assert not any(now)
        now = state.unit_bytes("DisplayScreenshot")
    assert len(now) == len(picture) and now != picture
    at = now.index(b"\x89PNG")
    assert now[at + 16 : at + 24] == picture[at + 16 : at + 24]  # its size


@pytest.mark.parametrize("content", [b"", b"\1\0\0\0", b"\1\0\0\0" + bytes([99] * 8), b"\0" * 5])
def test_a_picture_of_unknown_form_is_named(make: Make, scrub: Scrub, content: bytes) -> None:
    assert screen._blank_pictures(content) is None


def test_without_a_kernel_nothing_is_called_clean(make: Make, scrub: Scrub, tmp_path: Path) -> None:
    path = make({1: NOISE[1]})
    status, report, err = scrub(path, "--free", "--process", 1)
    assert (status, report["status"], report["written"]) == (1, "not clean", False)
    assert {one["kind"] for one in report["left"]} == {"free memory", "processes"}
    assert "NOT CLEAN" in err
    with SavedState(DATA / "plain.sav") as state, pytest.raises(KernelNotRead):
        open_kernel(state)
