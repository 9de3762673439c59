"""Writes docs/performance.md and its charts: `python -m tools.bench.performance MEASURED...`."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import click

from tools.bench.results import Measured, read
from tools.bench.sections import SECTIONS

__all__ = ["write"]

_DOCS = Path(__file__).parents[2] / "docs"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def write(lines: list[Measured], docs: Path, remark: str = "") -> None:
    """Make the page in the folder `docs`, and its charts beside it.

    `remark` says what else a reader has to know of the run.
    """
    made = f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} CPUs, {_processor()}"
    parts = [
        "# Performance",
        f"Made by `make bench`: {made}. Each round measures one system after the other: VirtualBox"
        " alone (`default`), and with sparc; the first is left out. Ratios are of the two in one"
        " round: their median, the least and the most.",
        *([f"**{remark}**"] if remark else []),
        "What runs on the host is measured as it is. The guest's side is measured elsewhere: here"
        " each of its instructions is interpreted. So `checkpoint` is the time of the whole command"
        " but for the part in which the guest freezes and collects.",
        *filter(None, (section(lines, docs) for section in SECTIONS)),
    ]
    (docs / "performance.md").write_text("\n\n".join(parts) + "\n")


@click.command()
@click.argument("measured", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--remark", default="", help="What else a reader has to know of the run.")
def main(measured: tuple[Path, ...], remark: str) -> None:
    """Make the page from files of measurements."""
    write(read(*measured), _DOCS, remark)


if __name__ == "__main__":
    main()
