"""The page on the wire: its numbers are the code's, as test_abi.py has them from the compiler."""

from __future__ import annotations

import json
import re

import shown
from layouts import ENUMS, STRUCTS
from pages import DOCS, PROJECT, spans, words_of_c

from host_service.reports import parse
from sparc import abi
from sparc.kinds import KINDS

_WIRE = (DOCS / "wire-format.md").read_text()


def test_each_structure_is_as_it_is() -> None:
    told = dict(re.findall(r"^### struct sparc_(\w+)\n\n(.*?)(?=^#|\Z)", _WIRE, re.M | re.S))
    assert set(told) == set(STRUCTS)
    for name, layout in STRUCTS.items():
        assert told[name].startswith(f"{layout.sizeof()} bytes."), name
        rows = re.findall(r"^\| (\d+) \| (\d+) \| `(\w+)` \|", told[name], re.M)
        at, wanted = 0, []
        for field in layout.subcons:
            if field.name:
                wanted.append((str(at), str(field.sizeof()), field.name))
            at += field.sizeof()
        assert rows == wanted, name


def test_each_number_is_as_it_is() -> None:
    for name, members in ENUMS.items():
        table = re.search(rf"^\| {name} \| value \|.*\n\|.*\n((?:\|.*\n)*)", _WIRE, re.M)
        assert table is not None, name
        rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", table[1], re.M)
        assert rows == [(member.name, str(member.value)) for member in members], name
    ioctls = re.findall(r"^\| `(\w+)` \| (0x[0-9a-f]+) \|", _WIRE, re.M)
    known = {name for name in abi.__all__ if name.startswith("IOC_")}
    assert {f"IOC_{name}" for name, _ in ioctls} == known
    assert [hex(getattr(abi, f"IOC_{name}")) for name, _ in ioctls] == [n for _, n in ioctls]
    assert f"version {abi.VERSION} (`SPARC_ABI_VERSION`)" in _WIRE
    assert f"(`SPARC_MAILBOX_LIMIT`, {abi.MAILBOX_LIMIT:#x})" in _WIRE
    assert f"up to {abi.DIRECTORIES} pages" in _WIRE
    assert repr(abi.MAGIC)[2:-5] in _WIRE


def test_each_kind_has_its_words() -> None:
    rows = re.findall(r"^\| `\w+` \| \d+ \| `([\w-]+)` \| (.*) \|", _WIRE, re.M)
    assert [word for word, _ in rows] == words_of_c("kinds")
    assert dict(rows) == KINDS


def test_each_bound_of_the_host_is_as_it_is() -> None:
    text = (PROJECT / "host_service/extpack/manifest.c").read_text()
    for name in ("EXTENTS", "PROCESSES"):
        shift = re.search(rf"#define MOST_{name}\s+\(1u << (\d+)\)", text)
        assert shift is not None and f"{1 << int(shift[1]):,} {name.lower()}" in _WIRE


def test_each_member_of_a_report_is_told() -> None:
    section = _WIRE.partition("\n## The report\n")[2]
    told = [name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in spans(row)]
    assert set(told) == set(shown.REPORT)
    # What the pack writes is what is read.
    text = (PROJECT / "host_service/extpack/report.c").read_text().partition("char *status_text")[0]
    written = set(re.findall(r'json_\w+\(&?json, "(\w+)"', text))
    assert set(told) - written == set()
    assert parse(json.dumps(shown.REPORT).encode()).clean
