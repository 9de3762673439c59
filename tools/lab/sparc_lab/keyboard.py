"""What a person's fingers do, as XT scan codes (set 1) of a US keyboard.

Source of the codes: the table of IBM's PC/XT keyboard, which PC keyboard controllers still report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .errors import UsageError

__all__ = ["Stroke", "console_switch", "strokes"]

Stroke = Sequence[int]
"""The make and break codes of one key stroke, modifiers included: bytes."""

_RELEASE = 0x80
_SHIFT = 0x2A
_ALT = 0x38
_F1 = 0x3B

_ROWS = (
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1E, "asdfghjkl;'`", 'ASDFGHJKL:"~'),
    (0x2B, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
)
_PLAIN = {"\t": 0x0F, "\n": 0x1C, " ": 0x39, "\b": 0x0E, "\x1b": 0x01}
_SHIFTED: dict[str, int] = {}
for _first, _plain, _shifted in _ROWS:
    _PLAIN.update({key: _first + at for at, key in enumerate(_plain)})
    _SHIFTED.update({key: _first + at for at, key in enumerate(_shifted)})


def strokes(text: str) -> Iterator[Stroke]:
    """One stroke for each character; a newline is the Enter key.

    Raises:
        UsageError: a character has no key on a US keyboard.
    """
    for number, character in enumerate(text):
        if (code := _PLAIN.get(character)) is not None:
            yield (code, code | _RELEASE)
        elif (code := _SHIFTED.get(character)) is not None:
            yield (_SHIFT, code, code | _RELEASE, _SHIFT | _RELEASE)
        else:
            # The text may be a secret: only where, not what.
            raise UsageError(f"character {number + 1} of the text has no key on a US keyboard")


def console_switch(number: int) -> Stroke:
    """Alt and the function key of virtual console ``number``, 1 to 10."""
    if not 1 <= number <= 10:
        raise UsageError(f"there is no key for tty{number}")
    code = _F1 + number - 1
    return (_ALT, code, code | _RELEASE, _ALT | _RELEASE)
