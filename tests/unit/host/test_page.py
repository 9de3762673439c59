"""The page of a checkpoint: what is on the map, and that nothing of a guest is more than text."""

from __future__ import annotations

import itertools
import json
import re
import struct
import sys
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from host.reporting import UUID, good_report, head_of, put_beside
from parked import PAGE, parked
from samples import DATA, Make

from host_service.page.memory_map import Class, MemoryMap, map_memory
from host_service.page.picture import COLOURS, draw
from sparc import abi
from sparc.cli.main import main
from sparc.errors import KernelNotRead
from sparc.sav.state import SavedState

PAGES = 256
ZEROS = {page: bytes(PAGE) for page in range(PAGES) if not 0xA0 <= page < 0x100}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=y>&amp;\x1b[2J\u202e</style></title>"
SECRET = b"do-not-print-me-4711"


def mapped(path: Path) -> MemoryMap:
    with SavedState(path) as state:
        return map_memory(state)


class Read(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def reported(
    capfd: pytest.CaptureFixture[str], path: Path, *options: str
) -> tuple[int, Read, dict[str, Any]]:
    out = path.with_suffix(".html")
    with pytest.raises(SystemExit) as end:
        main(["report", str(path), "--html", str(out), "--json", *options])
    said, err = capfd.readouterr()
    assert err == ""
    assert out.stat().st_mode & 0o777 == 0o600
    text = out.read_text()
    assert SECRET.decode() not in text + said and len(text) < 2 << 20
    return int(end.value.code or 0), Read(text), json.loads(said)


def fitting(**other: Any) -> dict[str, Any]:
    """The numbers of the manifest of a guest, of which such a report is made."""
    return head_of(good_report(**other))


# -- the map


def test_what_is_kept_out_is_found_in_the_file(make: Make) -> None:
    extents = [
        (50 * PAGE, 8, abi.Kind.PIPE),
        (51 * PAGE, 8, abi.Kind.SOCKET),
        (51 * PAGE + 16, 8, abi.Kind.CONSOLE),
        (52 * PAGE, 8, abi.Kind.REGISTERS),
        (53 * PAGE, 8, 999),
    ]
    full = {page: bytes(64) + b"x" * (PAGE - 64) for page in range(50, 56)}
    made = make({**ZEROS, **full, **parked(PAGES, range(100, 120), [60, 61], extents)})
    memory = mapped(made)
    assert memory.manifest_absent == memory.free_unknown == "" and memory.module
    shown = [Class(memory.classes[page]) for page in (50, 51, 52, 53, 54, 60, 100, 150, 0xA5)]
    assert shown == [
        Class.CHANNELS,
        Class.TERMINALS,
        Class.REGISTERS,
        Class.PARTS,
        Class.SAVED,
        Class.OUT,
        Class.FREE_OUT,
        Class.ZERO,
        Class.NONE,
    ]
    assert memory.counts()[Class.OUT] == 3 and memory.counts()[Class.FREE_OUT] == 20
    assert Class.NOT_OUT not in memory.counts()


def test_what_was_to_be_kept_out_and_was_not(make: Make) -> None:
    extents = [(50 * PAGE + 8, 8, abi.Kind.PIPE), (51 * PAGE, 8, abi.Kind.PIPE)]
    left = {
        50: bytes(15) + b"!" + bytes(PAGE - 16),
        51: bytes(8) + b"!" * (PAGE - 8),
        60: b"x" * PAGE,
        110: b"x" * PAGE,
    }
    made = make({**ZEROS, **left, **parked(PAGES, range(100, 120), [60, 61], extents)})
    found = np.flatnonzero(mapped(made).classes == Class.NOT_OUT).tolist()
    assert found == [50, 60, 110]


def test_an_ordinary_save(sample: Path) -> None:
    memory = mapped(sample)
    counts = memory.counts()
    assert not memory.module and "did not run" in memory.manifest_absent
    assert memory.free_unknown and counts[Class.ZERO] == 3993
    assert counts[Class.NONE] == 96 and sum(counts.values()) == (16 << 20) // PAGE
    assert set(counts) == {Class.NONE, Class.ZERO, Class.SAVED}


def test_lists_of_free_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drgn = pytest.importorskip("drgn")
    assert drgn
    from sparc.kernel import free, program

    monkeypatch.setattr(program, "open_kernel", lambda state: None)
    made = make({**ZEROS, 70: b"x" * PAGE})
    monkeypatch.setattr(free, "free_pages", lambda _: iter([range(69, 72), range(-5, -1)]))
    memory = mapped(made)
    shown = [Class(memory.classes[page]) for page in range(68, 73)]
    assert memory.free_unknown == "" and shown == [
        Class.ZERO,
        Class.FREE_OUT,
        Class.FREE_SAVED,
        Class.FREE_OUT,
        Class.ZERO,
    ]
    monkeypatch.setattr(free, "free_pages", lambda _: itertools.repeat(range(69, 72)))
    memory = mapped(made)
    assert "more than all memory" in memory.free_unknown
    assert set(memory.counts()) == {Class.NONE, Class.ZERO, Class.SAVED}


def test_free_memory_takes_drgn(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sparc.kernel.free", None)
    assert "pip install sparc[scrub]" in mapped(make(ZEROS)).free_unknown


def test_an_order_that_no_page_has() -> None:
    pytest.importorskip("drgn")
    from sparc.kernel.free import _range

    assert len(_range(512, 18)) == 1 << 18
    for order in (-1, 19, 1 << 40):
        with pytest.raises(KernelNotRead):
            _range(0, order)


def test_addresses_above_the_hole() -> None:
    ranges = [(0, 2 * PAGE), (1 << 32, 2 * PAGE)]
    memory = MemoryMap(np.zeros(4, np.uint8), ranges, False, "", "")
    assert [memory.address(n) for n in (0, 1, 2, 3)] == [0, PAGE, 1 << 32, (1 << 32) + PAGE]


# -- its picture


def points(png: bytes) -> npt.NDArray[np.uint8]:
    """What a reader of PNGs would see, as numbers of colours."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, parts = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        name, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", png, at + 8 + length)
        assert crc == zlib.crc32(name + data)
        parts[name] = data
        at += 12 + length
    width, height, depth, kind, *_ = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert (depth, kind, len(parts[b"PLTE"])) == (4, 3, 3 * len(Class))
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    both = np.stack([rows[:, 1:] >> 4, rows[:, 1:] & 15], axis=2)
    return both.reshape(height, -1)[:, :width]


@pytest.mark.parametrize("count", [1, 2, 5, 4096, 100_000, (1 << 19) + 1])
def test_a_picture_shows_every_page(count: int) -> None:
    classes = np.random.default_rng(1).integers(0, len(Class), count, np.uint8)
    picture = draw(classes)
    seen = points(picture.png).reshape(-1)
    whole = np.zeros(len(seen) * picture.pages, np.uint8)
    whole[:count] = classes
    assert (seen == whole.reshape(-1, picture.pages).max(axis=1)).all()


def test_eight_gigabytes_of_the_worst_are_small() -> None:
    classes = np.random.default_rng(1).integers(0, len(Class), (8 << 30) // PAGE, np.uint8)
    picture = draw(classes)
    assert len(picture.png) * 4 / 3 < 1 << 20 and picture.width <= 1024
    assert picture.pages == 4


def test_every_class_has_a_colour_of_its_own() -> None:
    assert set(COLOURS) == set(Class) and len(set(COLOURS.values())) == len(Class) <= 16


# -- the page


def test_a_clean_checkpoint(capfd: pytest.CaptureFixture[str], make: Make) -> None:
    kinds = {"anon": {"pages": 3, "bytes": 0}, "free": {"pages": 20, "bytes": 0}}
    head = fitting(kinds=kinds, extents=0)
    made = make({**ZEROS, **parked(PAGES, range(100, 120), [60, 61], head=head)})
    put_beside(made, kinds=kinds, extents=0)
    status, page, data = reported(capfd, made)
    assert status == 0 and data["clean"] and data["pages"]["out"] == 3
    for words in ("Clean", "gpg-agent (812), bash (901)", "memory of the programs", "80 KiB"):
        assert words in page.text
    # The timeline, and no audit.
    assert "the state was written" in page.text and "240.0 ms" in page.text
    assert "None was asked for" in page.text
    styles = [value for name, value in page.attributes if name == "style" and value]
    assert "margin-left: 4.87%; width: 95.12%" in " ".join(styles)


def test_it_needs_nothing_and_runs_nothing(capfd: pytest.CaptureFixture[str], make: Make) -> None:
    _, page, _ = reported(capfd, make(ZEROS))
    assert not {"script", "link", "iframe", "object", "form", "a", "base"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") for name in names)
    sources = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert len(sources) == 1 and str(sources[0]).startswith("data:image/png;base64,")
    points(b64decode(str(sources[0]).partition(",")[2]))
    css = Path("host_service/page/page.css")
    text = (Path(__file__).parents[3] / css).read_text()
    assert "url(" not in text and "@import" not in text and "<" not in text
    policy = [value for name, value in page.attributes if name == "content"]
    assert any("default-src 'none'" in str(value) for value in policy)


def test_a_report_that_a_guest_has_written(capfd: pytest.CaptureFixture[str], make: Make) -> None:
    made = make({**ZEROS, **parked(PAGES)})
    harmless = reported(capfd, made)[1]
    other: dict[str, Any] = {
        "clean": False,
        "reason": "timeout",
        "excluded": [{"pid": 1, "name": EVIL[:64]}, {"pid": 2, "name": "</title>" + EVIL[-20:]}],
        "kinds": {"<b>\x07": {"pages": (1 << 63) - 1, "bytes": (1 << 63) - 1}},
        "vm": {"name": EVIL, "uuid": UUID},
        "message": EVIL,
        "steps_us": {"prepare": (1 << 63) - 1, "write": 0, EVIL[:32]: 5},
    }
    put_beside(made, **other)
    _, page, _ = reported(capfd, made)
    assert set(page.tags) - {"div", "dl", "dt", "dd"} <= set(harmless.tags) | {"table", "tr", "td"}
    assert page.tags.count("img") == 1 and page.tags.count("title") == 1
    assert "alert(1)" in page.text
    assert all(c.isprintable() or c == "\n" for c in page.text)
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_many_programs(capfd: pytest.CaptureFixture[str], make: Make) -> None:
    other = {"excluded": [{"pid": n, "name": f"p{n}"} for n in range(5000)], "extents": 0}
    made = make({**ZEROS, **parked(PAGES, head=fitting(**other))})
    put_beside(made, **other)
    assert "p199 (199), 4800 more" in reported(capfd, made)[1].text


@pytest.mark.parametrize(
    ("pages", "other", "why"),
    [
        ({60: b"x" * PAGE}, {}, "1 pages that were to be kept out have content"),
        ({}, {"clean": False, "reason": "timeout", "message": "it was late"}, "it was late"),
        ({}, {"state_file": "/elsewhere.sav"}, "about another file"),
        ({}, None, "there is no report"),
    ],
)
def test_not_clean(
    capfd: pytest.CaptureFixture[str],
    make: Make,
    pages: dict[int, bytes],
    other: dict[str, Any] | None,
    why: str,
) -> None:
    made = make({**ZEROS, **pages, **parked(PAGES, stash=[60], head=fitting(extents=0))})
    if other is not None:
        put_beside(made, **{"extents": 0, **other})
    status, page, data = reported(capfd, made)
    assert status == 1 and not data["clean"] and why in data["why"]
    assert "NOT CLEAN: " in page.text and why in page.text and "Clean:" not in page.text


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ({}, "another saved state"),
        (parked(PAGES, state=abi.State.IDLE), "another saved state"),
        (parked(PAGES, version=9), "another version"),
        (parked(PAGES, head=fitting(extents=0), run_flip=3), "not of this file"),
    ],
)
def test_another_file_in_the_place_of_the_one(
    capfd: pytest.CaptureFixture[str], make: Make, pages: dict[int, bytes], why: str
) -> None:
    made = make({**ZEROS, **pages})
    put_beside(made, extents=0)
    status, page, data = reported(capfd, made)
    assert status == 1 and why in data["why"] and "Clean:" not in page.text


def test_nothing_was_excluded(capfd: pytest.CaptureFixture[str], make: Make) -> None:
    nothing: dict[str, Any] = {"reason": "nothing-excluded", "excluded": [], "kinds": {}}
    made = make({**ZEROS, **parked(PAGES, state=abi.State.IDLE, armed=0)})
    put_beside(made, **nothing)
    assert reported(capfd, made)[0] == 0


def test_a_path_that_is_not_written_as_short_as_can_be(
    capfd: pytest.CaptureFixture[str], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(ZEROS)
    monkeypatch.chdir(made.parent)
    with pytest.raises(SystemExit) as end:
        main(["report", f"./{made.name}", "--html", "page.html"])
    assert end.value.code == 1 and capfd.readouterr().err == ""


def test_an_audit(capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_bytes(b"innocent-one\n" + SECRET)
    held = parked(PAGES, head=fitting(extents=0))
    made = make({**ZEROS, 5: b"..." + SECRET.ljust(PAGE - 3, b"x"), **held})
    put_beside(made, extents=0)
    status, page, data = reported(capfd, made, "--secret-file", str(secrets))
    assert status == 1 and data["audit"] is False
    assert "Secret 2" in page.text and "0x000000005003" in page.text
    made = make({**ZEROS, **held})
    put_beside(made, extents=0)
    status, page, data = reported(capfd, made, "--secret-file", str(secrets))
    assert status == 0 and data["audit"] is True and "none of 2 secrets" in page.text


def test_a_damaged_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = bytearray((DATA / "plain.sav").read_bytes())
    data[150_000] ^= 1
    path = tmp_path / "damaged.sav"
    path.write_bytes(data)
    out = tmp_path / "page.html"
    with pytest.raises(SystemExit) as end:
        main(["report", str(path), "--html", str(out)])
    said = capfd.readouterr()
    if end.value.code == 1:
        assert "NOT CLEAN: the file is damaged" in said.out
    else:
        assert end.value.code == 2 and not out.exists()
    path.write_bytes(data[:100_000])
    with pytest.raises(SystemExit) as end:
        main(["report", str(path), "--html", str(out)])
    assert end.value.code == 2 and capfd.readouterr().err.count("\n") == 1


def test_it_takes_the_place_of_another_page_or_none(
    capfd: pytest.CaptureFixture[str], make: Make, tmp_path: Path
) -> None:
    made = make(ZEROS)
    old = tmp_path / "made.html"
    old.write_text("old")
    old.chmod(0o644)
    assert "<!DOCTYPE" not in old.read_text()
    reported(capfd, made)
    with pytest.raises(SystemExit) as end:
        main(["report", str(made), "--html", str(tmp_path / "no" / "page.html")])
    assert end.value.code == 2 and capfd.readouterr().err.count("\n") == 1
    assert not re.search(r"\.made\.html\.", " ".join(p.name for p in tmp_path.iterdir()))
