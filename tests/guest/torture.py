"""The torture program in a guest, and its secrets in an image of the guest's memory."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sparc_lab import Lab, QemuMachine

from sparc.audit.matcher import database
from tests.e2e.victims.programs import (
    TORTURE,
    TORTURE_CHAPTERS,
    TORTURE_CLASSES,
    VICTIMS,
    secret,
)
from tests.guest.protected import Protected
from tools.protect import compile_for_guests

__all__ = ["Torture", "find"]

FOUND = np.dtype([("gpa", "i8"), ("number", "i4")])
# Chapters to be tried alone, while working on them: their names with commas.
_CHAPTERS = os.environ.get("SPARC_TORTURE", "")
_START = """
mkdir -p /run/victims && cd /run/victims && rm -f planted verify verdict unsupported
setsid /root/torture {seed:x} {when} {chapters} </dev/null >/dev/null 2>/root/torture.log &
until_true '[ -e planted ] || [ -e verdict ]'
[ -e planted ] && exit 0
cat /root/torture.log; ps ax | tail -5; exit 1
"""
_VERDICT = """
cd /run/victims
until_true '[ -e verdict ]' || {
  for pid in $(pgrep -x torture); do cat /proc/$pid/stack; done; dmesg | tail -60
}
cat verdict /root/torture.log
"""


class Torture(Protected):
    """A protected guest in which the torture program can be run."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str) -> None:
        super().__init__(lab, machine, kernel)
        machine.put(compile_for_guests(lab, *TORTURE, root=VICTIMS), "/root/torture")

    def plant(self, when: str) -> int:
        """Run it, excluded ``none``, ``first`` or ``late``; its seed, once all is planted."""
        seed = random.getrandbits(60)
        # Without exclusion all that was freed is to be there.
        self.ok(f"echo {0 if when == 'none' else 2} > /sys/module/sparc/parameters/scrub")
        self.ok(_START.format(seed=seed, when=when, chapters=_CHAPTERS))
        return seed

    def planted(self) -> set[str]:
        """The classes that this kernel knows, of the chapters that were asked for."""
        numbers = self.ok("cat /run/victims/unsupported 2>/dev/null || true").split()
        return chosen_classes() - {TORTURE_CLASSES[int(number)] for number in numbers}

    def verify(self) -> str:
        """Have the process outside look at its ends: what it says, after a checkpoint."""
        self.ok("touch /run/victims/verify")
        return self.verdict()

    def verdict(self) -> str:
        """What the process outside has said, or says soon."""
        return self.ok(_VERDICT)

    def end(self) -> None:
        """End it."""
        self.ok("pkill -9 -x torture; true")


def _forms(text: str) -> list[bytes]:
    """As bytes, as cells of a text screen (grey on black), as 32-bit characters."""
    cells = b"".join(bytes([byte, 7]) for byte in text.encode())
    return [text.encode(), cells, text.encode("utf-32-le")]


def chosen_classes() -> set[str]:
    """All, or those of the chapters that SPARC_TORTURE names."""
    chapters = _CHAPTERS.split(",") if _CHAPTERS else TORTURE_CHAPTERS
    return {name for chapter in chapters for name in TORTURE_CHAPTERS[chapter]}


def find(
    ram: npt.NDArray[np.uint8], seed: int, classes: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    """Where each class's secret stands, in bytes or as wider characters: addresses of its start."""
    literals: list[tuple[int, bytes]] = []
    widths: list[int] = []
    for number in range(len(classes)):
        text = secret(seed, number)
        for form in _forms(text):
            literals.append((len(literals), form))
            widths.append(len(form))
    found: dict[int, list[int]] = {}

    def note(literal: int, _start: int, end: int, _flags: int, _context: object) -> None:
        found.setdefault(literal // 3, []).append(end - widths[literal])

    database(tuple(literals)).scan(ram.tobytes(), match_event_handler=note)
    return {
        classes[number]: np.unique(np.array(places, np.int64)) for number, places in found.items()
    }
