"""First part: a string typed at a shell in a terminal of the guest."""

from __future__ import annotations

import secrets
import string
from collections import Counter
from pathlib import Path

from sparc_lab.processes import wait_for

from tools.demo.guest import Guest, complaints
from tools.demo.places import USES, count
from tools.demo.screen import picture_shows_something

__all__ = ["show"]

_TERMINAL = "tty1"
_COLUMNS = ("VirtualBox alone", "memory only", "with terminal")
_PICTURE = "the picture of the screen"


class _Typed:
    """A shell at whose terminal a secret is typed, and another program."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        # Made up anew each time: a constant would also be found in this very program's file.
        self._secret = "demo-" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(16))
        self.shell = int(guest.sh(f"pgrep -o -t {_TERMINAL} -x bash"))

    def type(self) -> None:
        """Type the secret, and see it come back."""
        guest = self._guest
        guest.sh("setsid /root/bystander </dev/null >/dev/null 2>&1 &")
        guest.step(f"typing a secret at the shell on the guest's {_TERMINAL}: echo demo-...")
        guest.machine.type(_TERMINAL, f"echo {self._secret}\n")
        # Typing is done when the shell has done something else.
        guest.machine.type(_TERMINAL, ">/run/typed\n")
        wait_for(lambda: guest.sh("[ -e /run/typed ] && echo done || true") == "done", timeout=300)

    def checkpoint(self, name: str) -> tuple[Path, Counter[str]]:
        """Take a snapshot; how often the secret stands in what."""
        path, findings = self._guest.checkpoint(name, [self._secret])
        counts = count(self._guest.machine, findings)
        # What is drawn in pixels nobody searches: all black, or it counts.
        counts[_PICTURE] += picture_shows_something(path)
        return path, counts

    def restore(self, name: str) -> list[str]:
        """Go back to a checkpoint and look at both programs; what is wrong."""
        guest, before = self._guest, self._checks()
        guest.step(f"restoring {name!r}")
        guest.machine.restore(name)
        gone = f"kill -0 {self.shell} 2>/dev/null && echo alive || echo gone"
        wait_for(lambda: guest.sh(gone) == "gone", timeout=300, step=1)
        first = self._checks()
        wait_for(lambda: self._checks() > first + 1, timeout=300, step=1)
        last, shell = self._checks(), guest.sh(gone)
        guest.step(f"the excluded shell is {shell}")
        guest.step(f"a bystander has found its memory right {last} times ({first} at the restore)")
        wrong = ["the excluded shell lives"] * (shell != "gone")
        return wrong + ["the bystander does not go on"] * (last <= first or not before)

    def _checks(self) -> int:
        return int(self._guest.sh("cat /run/bystander 2>/dev/null || echo 0"))


def show(guest: Guest) -> list[str]:
    """Three snapshots and a restore; what is wrong."""
    typed = _Typed(guest)
    typed.type()
    _, alone = typed.checkpoint("alone")
    guest.say(f"sparc exclude --memory-only {typed.shell}")
    memory_path, memory = typed.checkpoint("memory")
    guest.say(f"sparc exclude --tty {_TERMINAL}")
    path, whole = typed.checkpoint("terminal")
    _print_table(alone, memory, whole)
    wrong = complaints(memory_path) + complaints(path) + typed.restore("terminal")
    if not alone[USES[0]]:
        wrong.append("what was typed did not reach the shell")
    if memory[USES[0]]:
        wrong.append("the shell's memory holds the secret, and it was excluded")
    if whole.total():
        wrong.append("the checkpoint holds the secret")
    return wrong


def _print_table(*columns: Counter[str]) -> None:
    print()
    print(f"  {'the secret stands in':32}" + "".join(f"{head:>18}" for head in _COLUMNS))
    for use in (*USES, _PICTURE):
        if any(column[use] for column in columns):
            print(f"  {use:32}" + "".join(f"{column[use]:18}" for column in columns))
    print(f"  {'in all':32}" + "".join(f"{column.total():18}" for column in columns))
    print()
