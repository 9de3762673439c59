"""The documentation: it is built without a warning, and what it says is what the program is.

Each command line in it is one that the program understands, and each file that is named exists.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import shown
from messages import MESSAGES
from pages import DOCS, INCLUDED, PAGES, PROJECT, blocks, spans
from sparc_lab.cli import main as lab

from guest_service import doctor as guest_doctor
from guest_service.rules import CONDITIONS
from host_service import doctor as host_doctor
from sparc.cli.main import cli
from tests import documented
from tests.e2e.victims.programs import TORTURE_CHAPTERS
from tools.docs import sequence

# -- the site


class _Loaded(HTMLParser):
    """The addresses that a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") != "canonical":
            self.found.append(given.get("href") or "")
        elif tag != "a":
            self.found += [given.get(name) or "" for name in ("src", "srcset", "data", "poster")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, made as `make docs` makes them."""
    out = tmp_path_factory.mktemp("site")
    # Without --quiet: with it, warnings are no errors.
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(
        argv,
        cwd=PROJECT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return out


def test_the_site_has_each_page(site: Path) -> None:
    made = {page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")}
    assert made <= {page.relative_to(site) for page in site.rglob("*.html")}
    assert "gpg-agent" in (site / "start.html").read_text()
    # What another file holds is on the page.
    assert "private copies of file pages" in (site / "coverage.html").read_text()
    assert "SPARC_LAB_CACHE" in (site / "lab.html").read_text()


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = _Loaded()
        loaded.feed(page.read_text())
        assert [at for at in loaded.found if re.match(r"(\w+:)?//", at)] == [], page
        # With these its scripts would fetch one more.
        assert 'class="mermaid"' not in page.read_text()
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(\w+:)?//", sheet.read_text()), sheet


def test_the_pictures_are_what_the_script_draws() -> None:
    for name, steps in sequence.PICTURES.items():
        drawn = (DOCS / "assets" / name).read_text()
        assert drawn == sequence.draw(steps), "python -m tools.docs.sequence"


def test_each_picture_is_shown_and_small() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    pictures = [path for path in (DOCS / "assets").iterdir() if path.suffix in (".png", ".svg")]
    assert len(pictures) > 5
    for path in pictures:
        assert re.search(rf"!\[[^]]{{10,}}\]\([\w/]*assets/{path.name}[)#]", text), path
        assert path.stat().st_size < 150_000, path


# -- command lines

# What stands for something, where the command wants a number.
_NUMBERS = {"PID", "PFN"}
_START = re.compile(
    r"^(?:sudo )?(?:\w+=\S+ )*(?:sudo )?(?:sparc|(?:\S*/)?python3? -m sparc\.cli) (?=\S)"
)


class NotUnderstood(Exception):
    """A command line that the program would refuse."""


def understand(line: str, *, whole: bool) -> None:
    """Have click read a command line as it would before running it.

    In it, A | B are several, [A] may be left out, A... may be repeated, and words in capitals stand
    for something. If not `whole`, arguments may be missing. Raises NotUnderstood.
    """
    start = _START.match(line)
    assert start is not None
    rest = re.split(r"(?:^|\s)(?:#|<|>|&&|;)(?:\s|$)", line[start.end() :])[0]
    rest = re.sub(r"\s*\.\.\.(?=\s|$)", "", rest).replace("[", "").replace("]", "")
    *first, last = [part.strip() for part in rest.split(" | ")]
    for part in [*first, last]:
        # "list | status | include PID" are three.
        _understand(shlex.split(part), whole=whole)


def _understand(args: list[str], *, whole: bool) -> None:
    args = ["1" if word in _NUMBERS else word for word in args]
    command: click.Command = cli
    context = click.Context(cli, info_name="sparc")
    if args[:1] in (["--version"], ["--help"]):
        return
    while isinstance(command, click.Group):
        if not args and not whole:
            return
        found = command.get_command(context, args[0]) if args else None
        if found is None:
            raise NotUnderstood(f"no such command: {args[:1]}")
        command, args = found, args[1:]
        context = click.Context(command, context, command.name)
    try:
        command.make_context(command.name, args, context.parent)
    except click.MissingParameter as error:
        if whole:
            raise NotUnderstood(str(error)) from None
    except click.exceptions.Exit:  # --help
        pass
    except click.ClickException as error:
        raise NotUnderstood(error.format_message()) from None


def _command_lines() -> Iterator[tuple[str, str, bool]]:
    """(page, line, whether it is one to be typed as it is)."""
    for page in [*PAGES, *INCLUDED]:
        text, name = page.read_text(), page.relative_to(PROJECT).as_posix()
        yield from ((name, line, True) for line in blocks(text) if _START.match(line))
        for span in spans(text):
            # Some messages begin with the program's name.
            if _START.match(span) and span not in MESSAGES:
                yield name, span, False


_LINES = sorted(set(_command_lines()))


@pytest.mark.parametrize(("page", "line", "whole"), _LINES)
def test_a_command_line_would_be_understood(page: str, line: str, whole: bool) -> None:
    understand(line, whole=whole)


def test_there_are_command_lines_of_all_kinds() -> None:
    assert sum(whole for _, _, whole in _LINES) > 40
    assert sum(not whole for _, _, whole in _LINES) > 20
    assert {page for page, _, _ in _LINES} >= {"README.md", "docs/start.md", "docs/host.md"}


@pytest.mark.parametrize(
    "line",
    [
        "sparc exclud 1",
        "sparc exclude --with-piers PID...",
        "sparc list | stats",
        "sudo sparc doctor --colour",
        "sparc scrub FILE --process NAME",
        "sparc host policy VM strickt",
        "sparc host polices VM strict",
        "sparc restore VM",
        "sparc report FILE    # without --html",
        "SPARC_DEBUG=1 sparc sav inform FILE",
    ],
)
def test_a_slip_in_one_would_be_found(line: str) -> None:
    with pytest.raises(NotUnderstood):
        understand(line, whole=True)


class _Same(dict[str, str]):
    """Words that stand for themselves."""

    def __missing__(self, word: str) -> str:
        return word


def test_each_command_line_is_run_by_a_test() -> None:
    told = {line: page for page in documented.PAGES for line in documented.shown(page)}
    assert len(told) > 60
    run = {line for by in (documented.GUEST, documented.HOST) for _, line in documented.run_in(by)}
    parts = {one for line in run for one in documented.commands(line, _Same())}
    by_others = {*documented.ELSEWHERE, *documented.NOT_RUN}
    left = {line: page for line, page in told.items() if line not in run | by_others | parts}
    assert left == {}
    assert by_others <= told.keys()


@pytest.mark.parametrize("line", documented.ELSEWHERE)
def test_what_runs_it_is_there(line: str) -> None:
    test, there = documented.ELSEWHERE[line]
    assert there in (PROJECT / test).read_text()


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(command)
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _commands(found, (*path, name))


def test_each_command_is_shown() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    # Alternatives are commands of their own.
    text = re.sub(r"(sparc )(\S+) \| (\S+) \| ", r"\1\2 \1\3 \1", text)
    text += text.replace("python3 -m sparc.cli", "sparc")
    assert [name for name in _commands(cli) if f"sparc {name}" not in text] == []


def test_each_command_of_the_lab_exists() -> None:
    context = click.Context(lab)
    for page in [*PAGES, *INCLUDED]:
        text = page.read_text()
        for line in [*blocks(text), *spans(text)]:
            # What it does stands behind, with some space between.
            said = re.match(r"sparc-lab ((?:\S+ ?)+)", line)
            for part in said[1].split("; ") if said else ():
                name, *words = part.removeprefix("sparc-lab ").split(" -- ")[0].split()
                command = lab.get_command(context, name)
                assert command is not None, f"{page}: {line}"
                known = {option for given in command.params for option in given.opts}
                used = {word for word in words if word.startswith("-") and word != "-"}
                assert used <= known, f"{page}: {line}"


# -- other things that are named


def _targets() -> set[str]:
    text = (PROJECT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][\w -]*?):(?!=)", text, re.M)) | set(
        re.search(r"\.PHONY: ((?:.*\\\n)*.*)", text)[1].replace("\\\n", " ").split()  # type: ignore[index]
    )


def test_each_target_of_make_exists() -> None:
    targets = _targets()
    for page in PAGES:
        text = page.read_text()
        for line in [*blocks(text), *spans(text)]:
            for name in re.findall(r"(?:^|sudo )make ([a-z][a-z0-9-]*)", line):
                assert name in targets, f"{page}: make {name}"


_BUILT = re.compile(r"build/|dist/|host_service/extpack/Sparc\.vbox-extpack")


def test_each_file_and_module_that_is_named_exists() -> None:
    folders = "|".join(path.name for path in PROJECT.iterdir() if path.is_dir())
    for page in [*PAGES, *INCLUDED]:
        for span in spans(page.read_text()):
            if module := re.match(r"python3? -m ((?:tools|tests)[\w.]*)", span):
                path = PROJECT / module[1].replace(".", "/")
                assert path.is_dir() or path.with_suffix(".py").exists(), f"{page}: {span}"
            elif re.fullmatch(rf"(?:{folders})/[\w./-]*", span) and not _BUILT.match(span):
                assert (PROJECT / span).exists(), f"{page}: {span}"


def test_each_link_of_the_readme_leads_somewhere() -> None:
    """Those of the pages are looked at when the site is made."""
    text = (PROJECT / "README.md").read_text()
    titles = re.findall(r"^#+ (.*)", text, re.M)
    anchors = {re.sub(r"[^\w-]", "", title.lower().replace(" ", "-")) for title in titles}
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert len(targets) > 10
    for target in targets:
        path, _, anchor = target.partition("#")
        assert (PROJECT / path).exists() if path else anchor in anchors, target


def test_the_coverage_table_names_each_chapter_of_the_torture() -> None:
    table = (PROJECT / "README.md").read_text().partition("\n## Coverage\n")[2]
    assert set(re.findall(r"torture \(`(\w+)`\)", table)) == set(TORTURE_CHAPTERS)


def test_each_dependency_has_its_why() -> None:
    told = (DOCS / "dependencies.md").read_text()
    for name in ("setup.cfg", "tools/lab/setup.cfg"):
        config = configparser.ConfigParser()
        config.read(PROJECT / name)
        options = [config["options"]["install_requires"]]
        if config.has_section("options.extras_require"):
            options += config["options.extras_require"].values()
        for line in "\n".join(options).split("\n"):
            if package := re.match(r"[\w.-]+", line.strip()):
                assert re.search(rf"^\| (?:.*, )?{re.escape(package[0])}\b", told, re.M), package[0]


def test_the_versions_are_those_that_sparc_doctor_calls_right() -> None:
    told = (DOCS / "index.md").read_text()
    for name, doctor in (("VirtualBox", host_doctor), ("kernels", guest_doctor)):
        (a, b), (c, d) = doctor._OLDEST, doctor._NEWEST
        assert re.search(rf"{name}\s{a}\.{b} to {c}\.{d}", told), name


def test_each_condition_of_a_rule_is_told() -> None:
    told = (DOCS / "guest.md").read_text()
    for key in (*CONDITIONS, "display = true", 'on_restore = "restart"'):
        assert f"| `{key}` |" in told


def test_what_the_first_page_shows_is_what_is_printed() -> None:
    told = (DOCS / "start.md").read_text()
    for name, text in shown.outputs().items():
        assert "\n".join(f"    {line}" for line in text.splitlines()) in told, name
