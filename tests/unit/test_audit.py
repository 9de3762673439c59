"""Does the audit find what is there, all of it, and nothing else?"""

from __future__ import annotations

import base64
import gzip
import random
import zlib
from pathlib import Path

import pytest
from samples import DATA, Make, Search

from sparc.audit import collect as collect_module
from sparc.audit import matcher as matcher_module
from sparc.audit import split as split_module
from sparc.audit.decoders import Budget
from sparc.audit.report import CLEAN, INCOMPLETE, RESIDUE, Finding, Report
from sparc.audit.secrets import Secret
from sparc.cli.audit_text import text
from sparc.errors import Damaged, LimitExceeded
from tools.bench.savwriter import PAGE, SavWriter

SECRET = b"correct horse battery staple"


def page(rng: random.Random, *, packed: bool) -> bytes:
    """A page of noise; `packed`: one that is stored compressed."""
    return rng.randbytes(64) * 64 if packed else rng.randbytes(PAGE)


def found(findings: list[Finding], number: int) -> list[tuple[str, int]]:
    return [(f.place, f.address) for f in findings if f.secret == number]


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "compressed"])
def test_200_planted_are_found_and_200_others_are_not(
    make: Make, search: Search, packed: bool
) -> None:
    rng = random.Random(99)
    planted = [rng.randbytes(8).hex().encode() + b"-%03d" % i for i in range(200)]
    others = [rng.randbytes(8).hex().encode() + b"-%03d" % i for i in range(200)]
    pages = {number: bytearray(page(rng, packed=packed)) for number in range(1024)}
    where: dict[int, int] = {}
    for i, secret in enumerate(planted):
        start = (4 * i + 1) * PAGE
        # Every fourth one crosses into the next page, cut at each place in turn.
        at = PAGE - 1 - i // 4 % (len(secret) - 1) if i % 4 == 0 else rng.randrange(PAGE - 40)
        where[i] = start + at
        for k, byte in enumerate(secret):
            pages[(start + at + k) // PAGE][(start + at + k) % PAGE] = byte
    path = make({number: bytes(data) for number, data in pages.items()}, ram=1024 * PAGE)
    report = search(path, planted + others)
    assert report.problems == []
    assert report.status == RESIDUE
    got = {i: found(report.findings, i + 1) for i in range(400)}
    assert got == {i: [("ram", where[i])] if i < 200 else [] for i in range(400)}
    crossing = [f for f in report.findings if f.crosses is not None]
    assert [f.secret - 1 for f in sorted(crossing)] == [i for i in range(200) if i % 4 == 0]
    assert all(f.crosses is not None and f.crosses == (f.address | 0xFFF) + 1 for f in crossing)


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        ("utf-8", SECRET),
        ("utf-16le", SECRET.decode().encode("utf-16-le")),
        ("utf-32le", SECRET.decode().encode("utf-32-le")),
        ("console", b"".join(bytes((byte, 7)) for byte in SECRET)),
        ("hex", SECRET.hex().encode()),
        ("hex", SECRET.hex().upper().encode()),
        *(("base64", base64.b64encode(b"x" * n + SECRET + b"tail" * n)) for n in range(4)),
        ("base64", base64.urlsafe_b64encode(b"\xff" + b"\xfb\xef\xbe" * 9)),
    ],
)
@pytest.mark.parametrize("place", ["ram", "unit", "cross"])
def test_each_encoding_in_each_place(
    make: Make, search: Search, encoding: str, form: bytes, place: str
) -> None:
    secret = SECRET if b"_" not in form and b"-" not in form else b"\xfb\xef\xbe" * 9
    rng = random.Random(5)
    noise = rng.randbytes(4 * PAGE)
    at = 2 * PAGE - len(form) // 2 if place == "cross" else PAGE + 77
    content = noise[:at] + form + noise[at + len(form) :]
    if place == "unit":
        path = make({0: noise[:PAGE]}, {"piix3ide": content})
    else:
        path = make({i: content[i * PAGE : (i + 1) * PAGE] for i in range(4)})
    report = search(path, [secret, b"something else"])
    assert report.problems == []
    hits = [f for f in report.findings if f.secret == 1]
    assert encoding in {f.encoding for f in hits}
    for hit in hits:
        assert hit.place == ("unit" if place == "unit" else "ram")
        assert at <= hit.address <= at + 4
        assert hit.name == ("piix3ide" if place == "unit" else "")
    assert not [f for f in report.findings if f.secret == 2]


def test_clean_is_clean(make: Make, search: Search) -> None:
    report = search(make({1: b"nothing here".ljust(PAGE)}, {"pckbd": b"keys"}), [SECRET])
    assert (report.status, report.findings, report.problems) == (CLEAN, [], [])


@pytest.mark.parametrize("cut", [1, 3, 4, 14, 24, 25, 27])
def test_split_over_frames_that_are_no_neighbours(make: Make, search: Search, cut: int) -> None:
    rng = random.Random(cut)
    first, second = rng.randbytes(PAGE - cut) + SECRET[:cut], SECRET[cut:] + rng.randbytes(PAGE)
    pages = {40: first, 41: rng.randbytes(PAGE), 7: second[:PAGE], 8: rng.randbytes(PAGE)}
    (hit,) = search(make(dict(sorted(pages.items()))), [SECRET, b"innocent-0001"]).findings
    assert (hit.place, hit.address, hit.crosses, hit.cut) == ("ram", 41 * PAGE - cut, 7 * PAGE, cut)


@pytest.mark.parametrize("value", [b"abcd", b"Zq#9", b"12345"])
def test_short_secrets_across_neighbours_only(make: Make, search: Search, value: bytes) -> None:
    rng = random.Random(3)
    pages = {i: rng.randbytes(PAGE) for i in range(8)}
    pages[2], pages[3] = pages[2][:-2] + value[:2], value[2:] + pages[3][len(value) - 2 :]
    pages[5], pages[7] = pages[5][:-2] + value[:2], value[2:] + pages[7][len(value) - 2 :]
    hits = [f for f in search(make(pages), [value]).findings if f.encoding == "utf-8"]
    assert [(f.address, f.crosses) for f in hits] == [(3 * PAGE - 2, 3 * PAGE)]


def test_a_replaced_copy_of_a_live_save_is_residue(make: Make, search: Search) -> None:
    old, new = random.Random(1).randbytes(PAGE), random.Random(2).randbytes(PAGE)
    dirty = old[:100] + SECRET + old[100 + len(SECRET) :]
    path = make({3: new}, passes=[{2: old, 3: dirty}, {3: dirty}])
    hits = search(path, [SECRET]).findings
    assert [(f.address, f.superseded) for f in hits] == [(3 * PAGE + 100, True)] * 2
    assert len({f.file_offset for f in hits}) == 2
    path = make({3: dirty}, passes=[{2: old, 3: new}])
    assert [f.superseded for f in search(path, [SECRET]).findings] == [False]


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)
    return data


def packed_forms() -> dict[str, bytes]:
    plain = (
        random.Random(8).randbytes(900).hex().encode()
        + SECRET
        + b" and more" * 90
        + bytes(range(256))
    )
    whole = zlib.compress(plain)
    picture = png(
        (b"IHDR", bytes(13)), (b"IDAT", whole[:500]), (b"IDAT", whole[500:]), (b"IEND", b"")
    )
    return {
        "gzip": gzip.compress(plain),
        "zlib": zlib.compress(plain, 9),
        "zlib fast": zlib.compress(plain, 1),
        "png": picture,
        "gzip'd png": gzip.compress(picture),
        "png text": png((b"IHDR", bytes(13)), (b"zTXt", b"k\0\0" + zlib.compress(SECRET))),
        "png international text": png((b"iTXt", b"k\0\1\0en\0k\0" + zlib.compress(SECRET))),
        "gzip, two members": gzip.compress(b"first") + gzip.compress(plain),
        "gzip in gzip": gzip.compress(b"a" + gzip.compress(b"b" + gzip.compress(plain))),
        "gzip cut off": gzip.compress(plain)[:-150],
    }


@pytest.mark.parametrize("place", ["unit", "raw pages", "compressed page"])
@pytest.mark.parametrize("name", packed_forms())
def test_compressed_data_is_looked_into(make: Make, search: Search, name: str, place: str) -> None:
    data = packed_forms()[name]
    assert SECRET not in data
    rng = random.Random(4)
    if place == "unit":
        path = make({}, {"DisplayScreenshot": rng.randbytes(50) + data + rng.randbytes(5000)})
        at = 50
    elif place == "raw pages":
        # Starts near the end of a page, so that it goes on in the next one.
        at = 2 * PAGE - 30
        content = rng.randbytes(at) + data + rng.randbytes(4 * PAGE)
        path = make({i: content[i * PAGE :][:PAGE] for i in range(4)})
    else:
        at = PAGE + 10
        path = make({1: (bytes(10) + data).ljust(PAGE, b"\0"), 2: bytes(PAGE)})
    report = search(path, [SECRET, b"another secret"])
    assert report.problems == []
    assert {(f.secret, f.place) for f in report.findings} == {
        (1, "unit" if place == "unit" else "ram")
    }
    # What is stored inside without being compressed again is found from both its starts.
    addresses = [f.address for f in report.findings]
    assert at == min(addresses) and max(addresses) < at + len(data)
    assert all(f.layers for f in report.findings)


def test_what_exceeds_the_bounds_is_never_clean(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = gzip.compress(bytes(3 << 20))
    path = make({}, {"vga": bomb})
    assert search(path, [SECRET]).status == CLEAN
    monkeypatch.setattr(Budget.__init__, "__defaults__", (1 << 20, 5, 32))
    report = search(path, [SECRET])
    assert report.status == INCOMPLETE
    assert isinstance(report.problems[0], LimitExceeded)


def test_nested_too_deep_is_never_clean(make: Make, search: Search) -> None:
    data = SECRET
    for _ in range(12):
        data = gzip.compress(data)
    assert search(make({}, {"vga": data}), [SECRET]).status == INCOMPLETE


@pytest.mark.parametrize("place", ["ram", "packed", "unit"])
@pytest.mark.parametrize("frequent", [1, 12], ids=["one", "many"])
def test_a_secret_on_every_page_does_not_drown_the_report(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch, frequent: int, place: str
) -> None:
    # All limits as they relate to each other, a 500th of each.
    for owner, name in (
        (matcher_module.Matcher, "MAX_HITS"),
        (collect_module, "MAX_OF_ONE"),
        (collect_module, "MAX_FINDINGS"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name) // 500)
    rng = random.Random(6)
    common = [b"common-%02d" % i for i in range(frequent)]
    pages = {
        i: page(rng, packed=place == "packed")[: PAGE // 2].ljust(PAGE - 200, b"-")
        + b"".join(common).ljust(200)
        for i in range(100)
    }
    # After all of the others.
    pages[99] = pages[99][:-11] + b"rare-secret"
    content = b"".join(pages.values())
    path = make({}, {"vga": content}) if place == "unit" else make(pages)
    report = search(path, [*common, b"rare-secret", b"in no place"])
    assert (report.status, report.problems) == (RESIDUE, [])
    assert report.more == list(range(1, frequent + 1))
    assert all(found(report.findings, number) for number in report.more)
    where = ("unit" if place == "unit" else "ram", 100 * PAGE - 11)
    assert found(report.findings, frequent + 1) == [where]
    assert len(report.findings) <= collect_module.MAX_FINDINGS
    lines = text(report).splitlines()
    assert lines[-1] == f"residue: {frequent + 1} of {frequent + 2} secrets found"
    assert f"Secret {frequent + 1} (test, line {frequent + 1}): 1 place" in lines


def test_a_secret_across_every_page_does_not_drown_the_others(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_module, "MAX_FINDINGS", 48)
    rng = random.Random(7)
    pages = {i: b"secret" + rng.randbytes(PAGE - 13) + b"common-" for i in range(80)}
    pages[90] = rng.randbytes(PAGE - 5) + b"rare-"
    pages[91] = b"other" + rng.randbytes(PAGE - 5)
    report = search(make(pages), [b"common-secret", b"rare-other", b"in no place"])
    assert (report.more, report.problems) == ([1], [])
    assert found(report.findings, 1)
    assert found(report.findings, 2) == [("ram", 91 * PAGE - 5)]


def test_what_too_many_page_ends_hide_is_never_clean(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_module, "MAX_PAGES", 20)
    rng = random.Random(8)
    # Too short to be put together but from neighbours, and these come last.
    pages = {2 * i: rng.randbytes(PAGE - 4) + b"Zq#9" for i in range(40)}
    pages[79] = b"!x" + rng.randbytes(PAGE - 2)
    report = search(make(pages), [b"Zq#9!x", b"in no place"])
    assert (report.status, report.more) == (RESIDUE, [1])
    del pages[79]
    pages[81] = b"." * PAGE
    assert search(make(pages), [b"Zq#9!x", b"in no place"]).status == CLEAN


def test_what_cannot_be_listed_is_residue_and_named() -> None:
    secrets = [Secret(1, "test", 1, b"common"), Secret(2, "test", 2, b"absent")]
    report = Report("a.sav", secrets, more=[1])
    assert report.status == RESIDUE
    assert report.as_json()["status"] == "residue"
    lines = text(report).splitlines()
    assert lines[0].startswith("Secret 1 (test, line 1): ")
    assert lines[-1] == "residue: 1 of 2 secrets found"


def test_damage_is_searched_but_never_clean(tmp_path: Path, make: Make, search: Search) -> None:
    rng = random.Random(2)
    pages = {i: rng.randbytes(PAGE) for i in range(64)}
    pages[60] = SECRET + pages[60][len(SECRET) :]
    data = bytearray(make(pages).read_bytes())
    # Between the records of page 30 and 31, so that all after it is not understood.
    at = data.index(pages[30]) + PAGE
    assert data[at] == 0x92
    data[at] = 0x55
    path = tmp_path / "damaged.sav"
    path.write_bytes(data)
    report = search(path, [SECRET])
    assert report.status == INCOMPLETE
    assert isinstance(report.problems[0], Damaged) and report.problems[0].offset == at
    assert [(f.place, f.file_offset) for f in report.findings] == [("file", data.index(SECRET))]
    assert search(path, [b"not in there"]).status == INCOMPLETE


def test_bytes_behind_the_footer_are_searched(tmp_path: Path, make: Make, search: Search) -> None:
    path = tmp_path / "longer.sav"
    path.write_bytes(make({1: b"x" * PAGE}).read_bytes() + SECRET)
    report = search(path, [SECRET])
    assert report.status == INCOMPLETE
    assert [f.place for f in report.findings] == ["file"]


def test_rom_and_video_memory(tmp_path: Path, search: Search) -> None:
    rng = random.Random(3)
    writer = SavWriter()
    writer.begin("pgm", 1, 14)
    writer.pgm_fixed(2)
    writer.pgm_config(1 << 20, roms=[("BIOS", 0xF0000, 2 * PAGE)], mmio2=[("VRam", 4 * PAGE)])
    dirty = rng.randbytes(PAGE - 4) + SECRET[:4]
    writer.ranged(4, 1, 0, rng.randbytes(PAGE), 1)
    writer.ranged(4, 1, 1, SECRET + rng.randbytes(PAGE - len(SECRET)), 1)
    writer.ranged(2, 1, 0, dirty)
    writer.ranged(2, 1, 1, SECRET[4:] + rng.randbytes(PAGE - len(SECRET) + 4))
    writer.ranged(3, 1, 2, None)
    writer.ram(0, rng.randbytes(PAGE))
    writer.pgm_end()
    path = tmp_path / "rom.sav"
    path.write_bytes(writer.finish())
    hits = {(f.place, f.name, f.address, f.crosses) for f in search(path, [SECRET]).findings}
    assert hits == {("rom", "rom#1", PAGE, None), ("mmio2", "mmio2#1", PAGE - 4, PAGE)}


def test_every_page_of_a_real_file_is_searched(search: Search) -> None:
    report = search(DATA / "plain.sav", [b"VirtualBox BIOS", b"linux.amd64", b"never in there"])
    assert report.problems == []
    assert {(f.secret, f.place, f.name) for f in report.findings} >= {
        (1, "rom", "rom#2"),
        (2, "unit", "SSM"),
    }
    assert not found(report.findings, 3)


def test_streams_that_start_everywhere_cost_no_more_than_the_bound(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget.__init__, "__defaults__", (64 * PAGE, 5, 32))
    # Stored blocks that hold the start of another stream, which goes on over all of RAM too.
    content = b"\x00\x02\x00\xfd\xff\x78\x01" * (64 * PAGE // 7 + 1)
    pages = {i: content[i * PAGE :][:PAGE] for i in range(64)}
    report = search(make(pages), [SECRET])
    assert report.status == INCOMPLETE
    assert isinstance(report.problems[-1], LimitExceeded)


def test_too_many_marks_end_the_looking_in_but_not_the_search(
    make: Make, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher_module.Matcher, "MAX_MARKS", 10)
    rng = random.Random(11)
    marks = b"".join(b"\x1f\x8b\x08" + rng.randbytes(20) for _ in range(100))
    report = search(make({3: (marks + bytes(500) + SECRET + rng.randbytes(PAGE))[:PAGE]}), [SECRET])
    assert report.status == INCOMPLETE
    assert [f.address for f in report.findings] == [3 * PAGE + len(marks) + 500]


@pytest.mark.parametrize("left", [12, 24, 40])
def test_a_stream_that_starts_where_a_compressed_page_ends(
    make: Make, search: Search, left: int
) -> None:
    # The page that is compressed next is not the one in which the stream goes on.
    rng = random.Random(left)
    stream = gzip.compress(rng.randbytes(900).hex().encode() + SECRET, mtime=0)
    pages = {
        1: page(rng, packed=True)[:-left] + stream[:left],
        2: (stream[left:] + rng.randbytes(PAGE))[:PAGE],
        3: page(rng, packed=True),
    }
    hits = search(make(pages), [SECRET]).findings
    assert [(f.place, f.address) for f in hits] == [("ram", 2 * PAGE - left)]
