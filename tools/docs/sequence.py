"""Draws a checkpoint as it passes from part to part: `python -m tools.docs.sequence`.

Writes docs/assets/checkpoint.svg, and one of what comes after a restore. (No library draws such a
thing without a browser or a network.)
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

__all__ = ["PICTURES", "draw"]

_FOLDER = Path(__file__).parents[2] / "docs/assets"
_LEFT, _BETWEEN, _LINE, _HEAD = 90, 205, 34, 46
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
/* Where a line passes below. */
text { stroke: #ffffff; stroke-width: 3px; paint-order: stroke; }
.lane, .phase { font-weight: 600; stroke: none; }
.phase { fill: #57606a; }
.room { fill: #ffffff; }
.box { fill: #eaeef2; stroke: #8c959f; }
.band { fill: #f3f5f7; }
line, path { stroke: #57606a; fill: none; }
.life { stroke-dasharray: 3 4; stroke: #8c959f; }
#tip path { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; stroke: #1e2129; }
  .lane, .phase { stroke: none; }
  .phase { fill: #9ea7b3; }
  .room { fill: #1e2129; }
  .box { fill: #30363d; }
  .band { fill: #262a33; }
  line, path { stroke: #9ea7b3; }
  #tip path { fill: #9ea7b3; }
}
"""
_LANES = ("VirtualBox", "extension pack", "sparc.ko", "sparc-guestd", "all others")
VBOX, PACK, MODULE, SERVICE, OTHERS = range(len(_LANES))

Step = str | tuple[int, int, str]
"""The name of a phase; or from which part to which, and what."""

_CHECKPOINT: tuple[Step, ...] = (
    "The guest runs",
    (VBOX, PACK, "suspend (VMR3Suspend)"),
    (PACK, MODULE, "mailbox: PREPARE"),
    (MODULE, SERVICE, "event: PREPARE"),
    (SERVICE, SERVICE, "rules; swap off, overwritten"),
    (SERVICE, OTHERS, "freeze (cgroup v2)"),
    (SERVICE, MODULE, "ioctl: PARK"),
    (MODULE, MODULE, "writes files back to their disks"),
    "All CPUs of the guest are stopped",
    (MODULE, MODULE, "counts: the manifest"),
    (MODULE, PACK, "mailbox: PARKED"),
    (PACK, VBOX, "lets it suspend"),
    "The VM is suspended",
    (VBOX, PACK, "savePrep"),
    (PACK, PACK, "checks the manifest"),
    (PACK, PACK, "copies to the stash, zeroes the guest's memory"),
    (VBOX, VBOX, "writes the .sav; the pack blanks devices' values"),
    (VBOX, PACK, "saveDone"),
    (PACK, PACK, "puts everything back, wipes the stash"),
    (PACK, PACK, "writes the report beside the .sav"),
    "The guest goes on",
    (VBOX, PACK, "resume (VMR3Resume)"),
    (PACK, MODULE, "mailbox: RESUMED"),
    (MODULE, SERVICE, "PARK returns: resumed"),
    (SERVICE, OTHERS, "thaw; then swap on"),
)
_RESTORE: tuple[Step, ...] = (
    "The restored guest still stands where it was parked",
    (VBOX, VBOX, "reads the .sav, runs the CPUs"),
    (MODULE, MODULE, "sees that the canary is zeros"),
    (MODULE, MODULE, "takes hold of pipes, sockets, terminals, files of zeros"),
    (MODULE, MODULE, "kills the excluded"),
    "All CPUs run, everybody else is frozen",
    (MODULE, MODULE, "mends what it holds: evicts pages, resets, empties"),
    (MODULE, SERVICE, "PARK returns: restored"),
    (SERVICE, OTHERS, "thaw; then swap on"),
    (SERVICE, SERVICE, "says who ended; starts services"),
)
PICTURES = {"checkpoint.svg": _CHECKPOINT, "restore.svg": _RESTORE}


def draw(steps: Sequence[Step]) -> str:
    """The picture as SVG."""
    height = _HEAD + _LINE * (len(steps) + 1)
    width = 2 * _LEFT + _BETWEEN * (len(_LANES) - 1) + 110
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto-start-reverse"><path d="M0 0 8 4 0 8z"/></marker></defs>',
        f'<rect class="room" width="{width}" height="{height}"/>',
    ]
    at = [_HEAD + _LINE * (number + 1) for number in range(len(steps))]
    for y, step in zip(at, steps, strict=True):
        if isinstance(step, str):
            parts.append(f'<rect class="band" y="{y - 22}" width="{width}" height="{_LINE - 4}"/>')
    for lane, name in enumerate(_LANES):
        x = _x(lane)
        parts.append(f'<line class="life" x1="{x}" y1="{_HEAD}" x2="{x}" y2="{height - 8}"/>')
        parts.append(f'<rect class="box" x="{x - 70}" y="10" width="140" height="30" rx="4"/>')
        parts.append(_text(x, 30, name, "lane", "middle"))
    for y, step in zip(at, steps, strict=True):
        if isinstance(step, str):
            parts.append(_text(12, y - 3, step, "phase"))
        else:
            parts += _step(y, *step)
    return "\n".join([*parts, "</svg>", ""])


def _x(lane: int) -> int:
    return _LEFT + _BETWEEN * lane


def _step(y: int, start: int, end: int, words: str) -> list[str]:
    if start == end:
        x = _x(start)
        loop = f"M{x} {y - 8}h10v10h-9"
        return [f'<path d="{loop}" marker-end="url(#tip)"/>', _text(x + 18, y, words)]
    line = f'<line x1="{_x(start)}" y1="{y}" x2="{_x(end)}" y2="{y}" marker-end="url(#tip)"/>'
    # Between the first two lanes that it passes.
    first = min(start, end) if end > start else start - 1
    return [line, _text(_x(first) + _BETWEEN // 2, y - 6, words, "", "middle")]


def _text(x: int, y: int, words: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'


def main() -> None:
    """Write them."""
    for name, steps in PICTURES.items():
        (_FOLDER / name).write_text(draw(steps))


if __name__ == "__main__":
    main()
