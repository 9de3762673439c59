"""Progress: on a terminal only, not with --quiet, and every command that shows it can be quiet."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from sparc.cli import progress
from sparc.cli.main import cli
from sparc.cli.progress import bar, quiet


class _Terminal:
    def __init__(self) -> None:
        self.said = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.said += text
        return len(text)

    def flush(self) -> None:
        pass


@click.group()
def group() -> None:
    pass


@group.command()
@quiet
def work() -> None:
    terminal = _Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        patch.setattr(progress, "_AFTER", 0.0)
        patch.setattr(progress, "_EVERY", 0.0)
        with bar("Working") as tell:
            if tell is not None:
                tell(1, 2)
    click.echo(terminal.said, color=True)


def test_it_is_shown_and_cleared() -> None:
    said = CliRunner().invoke(group, ["work"]).output
    assert "Working [" in said and "50%" in said and said.rstrip().endswith("\x1b[K")


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_not_with_quiet(option: str) -> None:
    assert CliRunner().invoke(group, ["work", option]).output.strip() == ""


def test_outside_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", _Terminal())
    with bar("Working") as tell:
        assert tell is not None


@pytest.mark.parametrize(
    "words",
    [["audit"], ["checkpoint"], ["restore"], ["sav", "info"], ["sav", "export"], ["scrub"]],
    ids=" ".join,
)
def test_every_command_with_a_bar_has_the_option(words: list[str]) -> None:
    assert "--quiet" in CliRunner().invoke(cli, [*words, "--help"]).output
