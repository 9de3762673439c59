"""The demonstration: what programs hold, in checkpoints without sparc and in such with it."""

from __future__ import annotations

import sys
from pathlib import Path

from sparc_lab import Lab, LabError, Settings, VirtualBoxMachine

from tools.demo import employees, terminal
from tools.demo.guest import Guest, Steps
from tools.protect import compile_for_guests, install_guest, install_pack

__all__ = ["main"]

_SOURCES = Path(__file__).parent
# The guest is interpreted: what takes others milliseconds takes it seconds.
_TIMEOUT_MS = "120000"


def main() -> None:
    """Run the demonstration in a lab of its own, which is gone at the end."""
    step = Steps()
    try:
        with Lab(owned=True) as lab:
            step("making what the lab needs (minutes the first time, nothing after)")
            _ = lab.parts
            step("installing the extension pack in VirtualBox")
            install_pack(lab)
            step("starting a virtual machine")
            machine = lab.up(Settings("demo", "virtualbox"))
            assert isinstance(machine, VirtualBoxMachine)
            machine.manage("setextradata", machine.name, "SPARC/TimeoutMs", _TIMEOUT_MS)
            step("installing sparc in the guest (each of its instructions is interpreted)")
            install_guest(lab, machine)
            machine.put(compile_for_guests(lab, _SOURCES / "bystander.c"), "/root/bystander")
            guest = Guest(machine, step)
            wrong = terminal.show(guest)
            wrong += employees.show(lab, guest)
            step("removing the machine")
    except LabError as error:
        sys.exit(f"demo: {error}\n  {error.hint}")
    if wrong:
        sys.exit(f"demo: {'; '.join(wrong)}")


if __name__ == "__main__":
    main()
