"""The pages of the documentation, as the tests of them read them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["DOCS", "INCLUDED", "PAGES", "PROJECT", "blocks", "spans", "words_of_c"]

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "docs"
PAGES = sorted({*DOCS.rglob("*.md"), PROJECT / "README.md"})
INCLUDED = [
    PROJECT / name
    for name in ("kmod/README.md", "host_service/extpack/README.md", "tools/lab/README.md")
]
"""What is shown as a page, too."""


def spans(text: str) -> list[str]:
    """What stands in code marks on a line."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def blocks(text: str) -> list[str]:
    """The lines of indented blocks."""
    return [line.strip() for line in text.splitlines() if re.match(r" {4}(?! )\S", line)]


def words_of_c(table: str) -> list[str]:
    """A table of words in the pack's report."""
    text = (PROJECT / "host_service/extpack/report.c").read_text()
    found = re.search(rf"\b{table}\[[^\]]*\] = \{{(.*?)\}};", text, re.S)
    assert found is not None
    return re.findall(r'= "([^"]*)"', found[1])
