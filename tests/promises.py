"""What the lab promises of every machine, whichever hypervisor and kernel it has."""

from __future__ import annotations

import os
from pathlib import Path

from sparc_lab.machine import Machine
from sparc_lab.processes import wait_for

__all__ = ["check_files", "check_outputs", "check_typing"]


def check_outputs(machine: Machine) -> None:
    """A program's two outputs come whole and apart, with its status."""
    result = machine.run(["sh", "-c", "printf 'a\\0b\\n'; printf 'x y' >&2; exit 7"])
    assert (result.status, result.stdout, result.stderr) == (7, b"a\0b\n", b"x y")
    result = machine.run(["seq", "30000"])
    assert result.text.splitlines() == [str(number) for number in range(1, 30001)]


def check_files(machine: Machine, folder: Path, size: int) -> None:
    """A file of ``size`` bytes goes in and comes out unchanged, on the disk and in memory."""
    source = folder / "source"
    source.write_bytes(os.urandom(size))
    source.chmod(0o750)
    for target in ("/root/file", "/tmp/file"):
        machine.put(source, target)
        assert machine.run(["stat", "-c", "%s %a", target]).text == f"{size} 750"
        machine.get(target, folder / "back")
        assert (folder / "back").read_bytes() == source.read_bytes()
        machine.run(["rm", target])


def check_typing(machine: Machine, terminal: str) -> None:
    """What is typed reaches the terminal, each character of it."""
    text = "The quick BROWN fox {jumps} over ~13 [lazy] dogs & <cats>; 5*(3-1) = 10 @ #! ^%"
    machine.type(terminal, f"tty > /root/typed; cat >> /root/typed << 'END'\n{text}\nEND\n")
    wait_for(lambda: text in machine.run(["cat", "/root/typed"]).text, timeout=300, step=0.5)
    assert machine.run(["cat", "/root/typed"]).text == f"/dev/{terminal}\n{text}"
    machine.run(["rm", "/root/typed"])
