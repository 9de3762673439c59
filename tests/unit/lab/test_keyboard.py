"""Scan codes against the table of the kernel's own keyboard driver documentation."""

from __future__ import annotations

import pytest
from sparc_lab.errors import UsageError
from sparc_lab.keyboard import console_switch, strokes


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("a", [0x1E, 0x9E]),
        ("A", [0x2A, 0x1E, 0x9E, 0xAA]),
        ("1", [0x02, 0x82]),
        ("!", [0x2A, 0x02, 0x82, 0xAA]),
        ("z", [0x2C, 0xAC]),
        ("?", [0x2A, 0x35, 0xB5, 0xAA]),
        ("|", [0x2A, 0x2B, 0xAB, 0xAA]),
        ("`", [0x29, 0xA9]),
        ("\n", [0x1C, 0x9C]),
    ],
)
def test_strokes(text: str, codes: list[int]) -> None:
    assert [code for stroke in strokes(text) for code in stroke] == codes


def test_every_printable_character_has_a_stroke_of_its_own() -> None:
    text = "".join(chr(code) for code in range(32, 127))
    assert len({tuple(stroke) for stroke in strokes(text)}) == len(text)


def test_what_has_no_key_is_not_told() -> None:
    with pytest.raises(UsageError) as caught:
        list(strokes("pass\u00e9"))
    assert "pass" not in str(caught.value) and "5" in str(caught.value)


def test_console_switch() -> None:
    assert list(console_switch(2)) == [0x38, 0x3C, 0xBC, 0xB8]
    with pytest.raises(UsageError):
        console_switch(11)
