"""The Python mirror of kmod/sparc_abi.h against the header itself, as a compiler sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from layouts import ENUMS, STRUCTS

from sparc import abi, wire

_HEADER = Path(__file__).parents[2] / "kmod/sparc_abi.h"
_PREFIX = {"event_type": "EVENT"}
# What stands in the header under SPARC_NAME and here under another one.
_RENAMED = {"ABI_VERSION": "VERSION"}


def _mirror() -> dict[str, int]:
    """C expressions, and what Python says they are."""
    numbers = {name: getattr(abi, name) for name in abi.__all__}
    known = {f"SPARC_{name}": value for name, value in numbers.items() if type(value) is int}
    for ours in _RENAMED.values():
        known.pop(f"SPARC_{ours}")
    known |= {f"SPARC_{theirs}": getattr(abi, ours) for theirs, ours in _RENAMED.items()}
    for name, members in ENUMS.items():
        prefix = _PREFIX.get(name, name.upper())
        known |= {f"SPARC_{prefix}_{member.name}": member.value for member in members}
    for name, layout in STRUCTS.items():
        known[f"sizeof(struct sparc_{name})"] = layout.sizeof()
        offset = 0
        for field in layout.subcons:
            if field.name:
                known[f"offsetof(struct sparc_{name}, {field.name})"] = offset
                known[f"sizeof(((struct sparc_{name} *)0)->{field.name})"] = field.sizeof()
            offset += field.sizeof()
    known["SPARC_WORD(7, 3)"] = abi.word(7, 3)
    known["SPARC_WORD_SEQUENCE(0x123456789abcdef0)"] = abi.sequence_of(0x123456789ABCDEF0)
    known["SPARC_WORD_WHAT(0x123456789abcdef0)"] = abi.what_of(0x123456789ABCDEF0)
    for pages in (0, 1, 32768, 32769, 1 << 20):
        known[f"SPARC_BITMAP_BYTES({pages})"] = abi.bitmap_bytes(pages)
    return known


def test_every_number_and_offset_is_the_compilers(tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no gcc")
    known = _mirror()
    lines = "\n".join(f'printf("%llu\\n", (unsigned long long)({c}));' for c in known)
    source = tmp_path / "numbers.c"
    source.write_text(
        f"#include <stddef.h>\n#include <stdio.h>\n#include {str(_HEADER)!r}\n".replace("'", '"')
        + f"int main(void)\n{{\n{lines}\nfwrite(SPARC_MAGIC, sizeof(SPARC_MAGIC), 1, stdout);\n}}\n"
    )
    program = tmp_path / "numbers"
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, source], check=True)
    output = subprocess.run([program], check=True, capture_output=True).stdout
    *numbers, magic = output.split(b"\n", len(known))
    assert dict(zip(known, map(int, numbers), strict=True)) == known
    assert magic == abi.MAGIC


def _told() -> str:
    return re.sub(r"/\*.*?\*/", "", _HEADER.read_text(), flags=re.S)


def test_nothing_in_the_header_is_left_out() -> None:
    known, text = _mirror(), _told()
    assert set(re.findall(r"^struct sparc_(\w+) \{", text, re.M)) == set(STRUCTS)
    assert set(re.findall(r"^enum sparc_(\w+) \{", text, re.M)) == set(ENUMS)
    for name, body in re.findall(r"^struct sparc_(\w+) \{(.*?)^\};", text, re.M | re.S):
        fields = {
            field
            for field in re.findall(r"(\w+)(?:\[[^;]*\])?;", body)
            if not field.startswith("gap")
        }
        assert fields == {field.name for field in STRUCTS[name].subcons if field.name}, name
    for body in re.findall(r"^enum sparc_\w+ \{(.*?)^\};", text, re.M | re.S):
        assert set(re.findall(r"^\t(\w+) =", body, re.M)) <= set(known)
    defined = set(re.findall(r"^#define (SPARC_\w+)\b(?!\()", text, re.M)) - set(known)
    assert defined == {"SPARC_ABI_H", "SPARC_MAGIC", "SPARC_IOC"}


def test_the_services_layouts_have_the_sizes_of_abis() -> None:
    pairs = [
        (wire.TARGET, abi.Target),
        (wire.LIST, abi.List),
        (wire.PROCESS, abi.Process),
        (wire.PARK, abi.Park),
        (wire.FAIL, abi.Fail),
        (wire.COLLECT, abi.Collect),
        (wire.EVENT, abi.Event),
    ]
    for layout, mirror in pairs:
        assert layout.size == mirror.sizeof()


def test_both_read_the_same_bytes_alike() -> None:
    data = bytes(range(100, 100 + wire.PARK.size))
    parsed = abi.Park.parse(data)
    names = [name for name, _ in wire.PARK.fields]
    assert [parsed[name] for name in names] == list(wire.PARK.unpack(data))


def test_a_count_is_read_alike() -> None:
    data = bytes(n * 7 % 256 for n in range(wire.COLLECT.size))
    parsed = abi.Collect.parse(data)
    flat = [*parsed.manifest.values(), *list(parsed.values())[2:]]
    expected = []
    for value in flat[1:]:  # the first is construct's own
        expected += value if isinstance(value, list) else [value]
    assert expected == list(wire.COLLECT.unpack(data))
