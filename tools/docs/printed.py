"""What commands print, as pictures."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text

__all__ = ["picture", "screen"]

# A picture in a page loads no fonts from elsewhere.
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.S)
_HOME, _SHOWN = "\x1b[H", "\x1b[?25h"


def screen(told: str) -> str:
    """What a program that draws the whole terminal has drawn last, from all that it has written."""
    return told.rpartition(_HOME)[2].partition(_SHOWN)[0].rstrip()


def picture(title: str, shown: str, width: int) -> str:
    """An SVG of a terminal of that many columns, which shows a text with colours."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(shown), no_wrap=True, crop=True)
    return _FONTS.sub("", console.export_svg(title=title, unique_id="sparc"))
