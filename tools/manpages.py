"""Makes the manual pages from what --help says: `python -m tools.manpages FOLDER`.

A page for each command, as git has them. (click-man is not used: it sees no commands that are
imported when they are asked for, and cuts each page's first line short.)
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import click

from guest_service import daemon, parts
from sparc.cli.main import cli

__all__ = ["pages"]

_EXIT = "Exit status:"
_SERVICES = {
    "sparc-guestd.8": (
        "sparc-guestd",
        "keeps excluded programs out of checkpoints of this guest",
        daemon.USAGE,
    ),
    "sparc-hostd.1": (
        "sparc-hostd",
        "journal of VirtualBox checkpoints made with sparc",
        "Usage: sparc-hostd\n\nTakes the reports of this user's VMs and keeps them in a journal, "
        "for `sparc status`. Checkpoints are as clean without it. Runs in the foreground, until "
        "SIGTERM: systemctl --user enable --now sparc-hostd.\n",
    ),
}


def pages() -> dict[str, str]:
    """Each page's text, by the name of its file."""
    found = {f"{name}.1": text for name, text in _commands(cli, ("sparc",))}
    for file, (name, about, usage) in _SERVICES.items():
        first, _, rest = usage.partition("\n")
        synopsis = first.removeprefix("Usage: ")
        found[file] = "\n".join(
            [
                _head(name, about, file[-1]),
                _section("SYNOPSIS", _text(synopsis)),
                _section("DESCRIPTION", _prose(rest.strip())),
                _section("SEE ALSO", ".BR sparc (1)"),
            ]
        )
    return found


def _commands(
    command: click.Command, path: tuple[str, ...], parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    context = click.Context(command, parent, path[-1], **command.context_settings)
    below = {}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            below[name] = found
    yield "-".join(path), _page(command, context, path, below)
    for name, found in below.items():
        yield from _commands(found, (*path, name), context)


def _page(
    command: click.Command,
    context: click.Context,
    path: tuple[str, ...],
    below: dict[str, click.Command],
) -> str:
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    about = " ".join(paragraphs[0].split()).partition(". ")[0].rstrip(".")
    # Where it says how it ends in the middle of a paragraph, that begins one of its own here.
    text, _, status = "\n\n".join(paragraphs).partition(_EXIT)
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    options = [
        record
        for param in command.get_params(context)
        if (record := param.get_help_record(context))
    ]
    commands = [(name, _first_sentence(found)) for name, found in below.items()]
    name = "-".join(path)
    parts_of_it = [
        _head(name, about[:1].lower() + about[1:], "1"),
        _section("SYNOPSIS", _text(usage)),
        _section("DESCRIPTION", _prose(text.strip())),
    ]
    if commands:
        parts_of_it.append(_section("COMMANDS", _table(commands)))
    parts_of_it.append(_section("OPTIONS", _table(options)))
    if status:
        parts_of_it.append(_section("EXIT STATUS", _prose(status.strip())))
    others = [f"{name}-{other}" for other in below] or ["-".join(path[:-1])]
    also = [*others, *(["sparc-guestd(8)", "sparc-hostd"] if len(path) == 1 else [])]
    parts_of_it.append(_section("SEE ALSO", _references(also)))
    return "\n".join(parts_of_it)


def _first_sentence(command: click.Command) -> str:
    return command.get_short_help_str(limit=200)


def _head(name: str, about: str, section: str) -> str:
    made = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    date = time.strftime("%Y-%m-%d", time.gmtime(made))
    title = f'.TH "{name.upper()}" "{section}" "{date}" "sparc {parts.version()}" "sparc"'
    return f"{title}\n.SH NAME\n{_text(name)} \\- {_text(about)}"


def _section(name: str, text: str) -> str:
    return f".SH {name}\n{text}"


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n.B {_text(name)}\n{_text(text)}" for name, text in rows)


def _references(names: list[str]) -> str:
    split = [re.fullmatch(r"(.*?)(?:\((\d)\))?", name) for name in names]
    found = [f".BR {_text(match[1])} ({match[2] or 1})" for match in split if match]
    return " ,\n".join(found)


def _prose(text: str) -> str:
    """Paragraphs; one that begins with click's mark is left as it is typed."""
    out = []
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("\b"):
            out.append(f".PP\n.nf\n{_text(paragraph.lstrip(chr(8)).strip(chr(10)))}\n.fi")
        else:
            out.append(f".PP\n{_text(' '.join(paragraph.split()))}")
    return "\n".join(out)


def _text(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.M)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(f"{text}\n")


if __name__ == "__main__":
    main()
