"""A guest with the module and the service in it, for tests that are about neither's start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparc_lab import Lab, QemuMachine
from sparc_lab.agent import Result

from tools import guest_bundle

__all__ = ["Scripts", "Served"]

_PROJECT = Path(__file__).parents[2]
_SCRIPT_SECONDS = 1000
# guestd VERB: start the service, stop it or whatever. until_true CONDITION: wait for it. Where each
# instruction is interpreted and others run beside it, seconds become minutes; whoever waits so long
# has found something.
_PRELUDE = """
export PATH=/usr/local/sbin:/usr/local/bin:$PATH
guestd() {
  if [ -d /run/systemd/system ]; then systemctl "$1" sparc-guestd
  else /etc/init.d/sparc-guestd "$1"; fi
}
until_true() {
  for turn in $(seq 3000); do eval "$1" && return; sleep 0.2; done
  echo "not within ten minutes: $1" >&2; return 1
}
"""
_SETUP = """
mkdir -p /etc/default && echo SPARC_FREEZE_SECONDS=120 >/etc/default/sparc-guestd
cd / && tar xzf /root/guest.tar.gz && insmod /root/sparc.ko && { groupadd -f sparc; true; } &&
{ [ ! -d /run/systemd/system ] || systemctl daemon-reload; guestd start; }
"""


class Scripts:
    """Scripts run in a guest, with the project's commands in their path."""

    def __init__(self, machine: QemuMachine) -> None:
        self.machine = machine

    def sh(self, script: str, seconds: float = _SCRIPT_SECONDS) -> Result:
        """Run a script, however it ends; ``guestd`` and ``until_true`` are functions in it."""
        return self.machine.shell(f"{_PRELUDE}\n{script}", seconds)

    def ok(self, script: str, seconds: float = _SCRIPT_SECONDS) -> str:
        """Run a script that has to succeed; what it printed."""
        result = self.sh(script, seconds)
        assert result.status == 0, (result.status, result.stdout + result.stderr)
        return result.text

    def json(self, script: str) -> dict[str, Any]:
        """What a script prints, which may fail otherwise."""
        result = self.sh(script)
        assert result.text, result.stderr
        return dict(json.loads(result.text))

    def start(self, script: str) -> int:
        """Start a program that goes on by itself; its pid."""
        return int(self.ok(f"setsid {script} >/dev/null 2>&1 </dev/null & echo $!"))


class Served(Scripts):
    """The guest has the module and the service."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str) -> None:
        super().__init__(machine)
        bundle = machine.folder / "bundle.tar.gz"
        guest_bundle.write(bundle)
        machine.put(bundle, "/root/guest.tar.gz")
        machine.put(lab.build_module(_PROJECT / "kmod", kernel), "/root/sparc.ko")
        self.ok(_SETUP)
