"""The demonstration: a secret typed in a guest stands in VirtualBox's saved state."""

from __future__ import annotations

import json
import secrets
import string
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparc_lab import Lab, LabError, Settings, VirtualBoxMachine

__all__ = ["main"]

_TERMINAL = "tty1"
_PROGRAM = "read -r password"
_PAGE_BYTES = 4096
_PAGE_USES = (
    (10, "free memory"),
    (7, "a kernel buffer"),
    (12, "memory of a process"),
    (5, "the file cache"),
)


class _Steps:
    """Says which step is under way, and how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", flush=True)


def main() -> None:
    """Run the demonstration in a lab of its own, which is gone at the end."""
    step = _Steps()
    try:
        with Lab(owned=True) as lab:
            step("making what the lab needs (minutes the first time, nothing after)")
            _ = lab.parts
            step("starting a virtual machine in VirtualBox")
            machine = lab.up(Settings("demo", "virtualbox"))
            assert isinstance(machine, VirtualBoxMachine)
            _show(machine, step)
            step("removing the machine")
    except LabError as error:
        sys.exit(f"demo: {error}\n  {error.hint}")


def _show(machine: VirtualBoxMachine, step: Callable[[str], None]) -> None:
    # Made up anew each time: a constant would also be found in this very program's file.
    secret = "demo-" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(16))
    step(f"typing {_PROGRAM!r} and then a secret at the guest's {_TERMINAL}")
    machine.type(_TERMINAL, f"{_PROGRAM}\n")
    time.sleep(2)
    machine.type(_TERMINAL, f"{secret}\n")
    time.sleep(2)
    step("taking a snapshot with VBoxManage")
    began = time.monotonic()
    path = machine.checkpoint("demo")
    step(f"taken in {time.monotonic() - began:.1f} s: {path.stat().st_size >> 20} MB")
    step("searching the saved state for the secret")
    found = _audit(path, secret)
    if not found:
        sys.exit("demo: what was typed did not reach the guest")
    print()
    _print_places(machine, found)
    print()


def _audit(path: Path, secret: str) -> list[dict[str, Any]]:
    """Every place of the secret, as ``sparc audit`` reports them."""
    sparc = Path(sys.executable).with_name("sparc")
    done = subprocess.run(
        [str(sparc), "audit", "--json", str(path)],
        input=secret,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"demo: the saved state could not be read whole: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    return list(report["findings"])


def _print_places(machine: VirtualBoxMachine, found: list[dict[str, Any]]) -> None:
    pages = {one["address"] // _PAGE_BYTES for one in found if one["place"] == "ram"}
    owners = _owners(machine, sorted(pages))
    print(f"  The secret stands {len(found)} times in the checkpoint:")
    for one in found:
        print(f"    {_place(one, owners)}")
    print()
    print("  checkpoint taken by      occurrences of the secret")
    print(f"  VirtualBox alone         {len(found)}")


def _place(finding: dict[str, Any], owners: dict[int, str]) -> str:
    address = finding["address"]
    if finding["place"] == "ram":
        where, owner = "guest memory", owners[address // _PAGE_BYTES]
    else:
        where, owner = f"{finding['place']} {finding['name']}", ""
    return f"{where:12} {address:#012x}  as {finding['encoding']:<10} {owner}"


def _owners(machine: VirtualBoxMachine, pages: list[int]) -> dict[int, str]:
    """What the guest's kernel says each page (PFN) is used for, a moment after the checkpoint."""
    read = "dd if=/proc/kpageflags bs=8 skip=$pfn count=1 status=none | od -An -tu8"
    numbers = " ".join(str(page) for page in pages)
    words = machine.shell(f"for pfn in {numbers}; do {read}; done").text.split()
    return {page: _owner(int(flags)) for page, flags in zip(pages, words, strict=True)}


def _owner(flags: int) -> str:
    """The use of a page by its flags in /proc/kpageflags (Linux, admin-guide/mm/pagemap)."""
    for bit, use in _PAGE_USES:
        if flags >> bit & 1:
            return use
    return "a kernel page"


if __name__ == "__main__":
    main()
