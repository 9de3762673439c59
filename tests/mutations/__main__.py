"""`python -m tests.mutations [WORD...]`: all, or those with one of the words in their description.

Exit status 1 if a test passed without the protection that it is for.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from tests.mutations.table import MUTATIONS, Mutation

_PROJECT = Path(__file__).parents[2]
_FAILED = 1  # of pytest: tests ran, and some failed


def _plant(mutation: Mutation, folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=_PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(_PROJECT / name, folder / name)
    text = (folder / mutation.file).read_text()
    if text.count(mutation.right) != 1:
        raise click.ClickException(f"{mutation.file} has not once: {mutation.right!r}")
    (folder / mutation.file).write_text(text.replace(mutation.right, mutation.wrong))


def _noticed(mutation: Mutation) -> str:
    """What the test said against it; "" if nothing."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        folder = Path(name)
        _plant(mutation, folder)
        paths = (folder, folder / "tools/lab", folder / "tests/unit")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "--timeout", "1800", mutation.test],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": ":".join(map(str, paths))},
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode not in (0, _FAILED):
        raise click.ClickException(done.stdout[-2000:] + done.stderr[-2000:])
    said = re.findall(r"^E +(.*)$", done.stdout, re.M)
    return " ".join(said)[:200] if done.returncode else ""


@click.command()
@click.argument("words", nargs=-1)
def main(words: tuple[str, ...]) -> None:
    """Take out each protection in turn."""
    missed = 0
    for mutation in MUTATIONS:
        if words and not any(word in mutation.protection for word in words):
            continue
        noticed = _noticed(mutation)
        missed += not noticed
        click.echo(f"{'noticed' if noticed else 'MISSED '}  {mutation.protection}")
        click.echo(f"         {mutation.test}: {noticed or 'passed'}")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
