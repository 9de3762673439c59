"""A guest that is guarded: module, service and victims in it, the extension pack on its host."""

from __future__ import annotations

import contextlib
import inspect
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from sparc_lab import Lab, Settings, VirtualBoxMachine

from guest_service import parts
from tests.e2e.victims.programs import (
    CLASSES,
    SURVIVORS,
    TORTURE,
    TORTURE_CLASSES,
    VICTIMS,
    secret,
)
from tests.promises import check_typing
from tools import protect
from tools.protect import PROJECT, compile_for_guests, install_guest

__all__ = ["HOLDERS", "Guarded", "furnish", "furnished", "prepare", "residue"]

_FOLDER = "/run/victims"
HOLDERS = ("holder", "child", "daemon")
"""The processes of holder.c, as they sign."""
_COUNT_RESTORES = "grep -c 'restored from a checkpoint' /var/log/sparc-guestd.log"
# Where each instruction is interpreted, the service answers in seconds.
_TIMEOUT_MS = 120_000


def furnished(lab: Lab, settings: Settings) -> Path:
    """The state of a machine with everything installed and victims running, made once."""
    # Not the bundle itself: what Python compiles is not the same each time.
    sources = [part for name, data, _ in parts.files() for part in (name, data.decode())]
    sources += [lab.build_module(PROJECT / "kmod", settings.kernel).parent.name]
    sources += [inspect.getsource(protect), inspect.getsource(furnish)]
    sources += [str((_FOLDER, SURVIVORS))]
    files = sorted(path for path in VICTIMS.rglob("*") if path.suffix in (".c", ".h"))
    sources += [part for path in files for part in (path.name, path.read_text())]
    return lab.furnished(settings, sources, furnish)


def prepare(lab: Lab, settings: Settings, folder: Path, hardware: Sequence[str]) -> None:
    """Leave such a state in ``folder``, of a machine with that hardware, which is booted for it."""
    machine = lab.up(settings, cold=True, hardware=hardware)
    assert isinstance(machine, VirtualBoxMachine)
    try:
        furnish(lab, machine)
        machine.store(folder)
    finally:
        lab.down(settings.name)


def furnish(lab: Lab, machine: VirtualBoxMachine) -> None:
    """Install everything in a machine, and start the victims that are not excluded."""
    install_guest(lab, machine)
    for program in ("holder", "survivor", "churn"):
        machine.put(compile_for_guests(lab, VICTIMS / f"{program}.c"), f"/root/{program}")
    machine.put(compile_for_guests(lab, *TORTURE, root=VICTIMS), "/root/torture")
    start = f"""
        mkdir -p {_FOLDER}
        for mode in {" ".join(SURVIVORS)}; do
            # They are not to slow down what is waited for.
            setsid nice -n 19 /root/survivor $mode </dev/null >/dev/null 2>>/root/victims.log &
        done
        for mode in {" ".join(SURVIVORS)}; do
            until [ -e {_FOLDER}/$mode ]; do sleep 0.5; done
        done
    """
    done = machine.shell(start, 1800)
    assert done.status == 0, done.stdout + done.stderr


class Guarded:
    """One such machine, and what is asked of it in tests."""

    def __init__(self, lab: Lab, machine: VirtualBoxMachine) -> None:
        self.lab = lab
        self.machine = machine
        self.extra_data("TimeoutMs", str(_TIMEOUT_MS))

    @classmethod
    @contextlib.contextmanager
    def up(
        cls, lab: Lab, settings: Settings, stored: Path, hardware: Sequence[str] = ()
    ) -> Iterator[Self]:
        """One that goes on from what `furnished` or `prepare` has made; ended on exit."""
        machine = lab.up(settings, stored=stored, hardware=hardware)
        try:
            assert isinstance(machine, VirtualBoxMachine)
            yield cls(lab, machine)
        finally:
            lab.down(settings.name)

    def extra_data(self, key: str, value: str) -> None:
        """Set SPARC/KEY."""
        self.machine.manage("setextradata", self.machine.name, f"SPARC/{key}", value)

    def sh(self, script: str, timeout: float = 900) -> str:
        """What a script in the guest printed; it has to succeed."""
        path = "export PATH=/usr/local/sbin:/usr/local/bin:$PATH\n"
        done = self.machine.shell(path + script, timeout)
        assert done.status == 0, done.stdout + done.stderr
        return done.text

    # -- victims

    def _scrub(self, freed: bool) -> None:
        """Whether the guest clears what is freed, whoever's it was."""
        self.sh(f"echo {2 if freed else 0} > /sys/module/sparc/parameters/scrub")

    def hold(self, *, excluded: bool = True, scrub: bool = True) -> int:
        """Start a holder of secrets; the seed of these, once all are in their places.

        Without ``scrub``, what it frees stays as it is in the guest's free pages.
        """
        seed = random.getrandbits(60)
        self._scrub(scrub)
        told = " ".join(f"{_FOLDER}/{name}" for name in HOLDERS)
        exclude = "exclude" if excluded else ""
        self.sh(f"""
            cd {_FOLDER} && rm -f {told} holder.pids
            setsid /root/holder {seed:x} {exclude} </dev/null >/dev/null 2>>/root/victims.log &
            for file in {told}; do until [ -e $file ]; do sleep 0.5; done; done
        """)
        return seed

    def end_holders(self) -> None:
        """Kill the last holder and what it started."""
        self.sh(f"kill -9 $(cat {_FOLDER}/holder.pids) 2>/dev/null; true")

    def holders_alive(self) -> list[int]:
        """The pids of the last holder's processes that live."""
        script = (
            f"for pid in $(cat {_FOLDER}/holder.pids); do kill -0 $pid && echo $pid; done; true"
        )
        return [int(pid) for pid in self.sh(script).split()]

    def torture(self, when: str) -> int:
        """Start the torture program, excluded ``none``, ``first`` or ``late``; its seed."""
        seed = random.getrandbits(60)
        self._scrub(when != "none")
        self.sh(
            f"""
            cd {_FOLDER} && rm -f planted verify verdict unsupported
            setsid /root/torture {seed:x} {when} </dev/null >/dev/null 2>>/root/victims.log &
            until [ -e planted ] || [ -e verdict ]; do sleep 0.5; done
            [ -e planted ] || {{ cat /root/victims.log; exit 1; }}
            """,
            600,
        )
        return seed

    def planted(self) -> set[str]:
        """The classes that the guest's kernel knows."""
        numbers = self.sh(f"cat {_FOLDER}/unsupported 2>/dev/null || true").split()
        return set(TORTURE_CLASSES) - {TORTURE_CLASSES[int(number)] for number in numbers}

    def torture_verdict(self, *, ask: bool = False) -> str:
        """What the process outside says of its ends; without `ask` it knows when to look."""
        asked = f"touch {_FOLDER}/verify;" if ask else ""
        words = self.sh(
            f"{asked} until [ -e {_FOLDER}/verdict ]; do sleep 0.5; done; cat {_FOLDER}/verdict"
        ).split()
        return words[0] if words[0] == "ok" else self.sh("tail -3 /root/victims.log")

    def end_torture(self) -> None:
        """Kill it."""
        self.sh("pkill -9 -x torture || true")

    def check_survivors(self, *more: str) -> None:
        """All others (and ``more``) go on from here, and find nothing wrong.

        The guest waits by itself: whoever asks it all the time takes the processor from them.
        """
        names = " ".join((*SURVIVORS, *more))
        # The round that a victim is in now may have begun before: the one after it counts.
        self.sh(f"""
            cd {_FOLDER}
            look() {{
                read word beat <$1
                [ "$word" = ok ] || {{ echo $1; cat /root/victims.log; exit 1; }}
            }}
            for name in {names}; do look $name; eval goal_$name=$((beat + 2)); done
            for name in {names}; do
                until look $name; [ $beat -ge $((goal_$name)) ]; do sleep 2; done
            done
            for name in {names}; do look $name; done
        """)

    def check_kernel(self) -> None:
        """The guest's kernel has complained of nothing."""
        bad = "WARNING|BUG|Oops|stall|lockup|Call Trace|hung task|bad page|corrupt"
        assert self.sh(f"dmesg | grep -E '{bad}' || true") == ""

    def check_terminals(self) -> None:
        """What is typed reaches a shell on each terminal, and comes back."""
        for terminal in ("tty1", "ttyS0"):
            check_typing(self.machine, terminal)

    def check_disk(self) -> None:
        """The file system is whole, as far as the guest has written it; ends the machine."""
        self.sh("sync; fsfreeze -f /")
        self.machine.power_off()
        image = self.lab.sandbox.files / "checked.raw"
        self.machine.disk(image)
        # Here and not in the guest, which would take minutes for it. What was removed while
        # somebody had it open is on the list of orphans; all else has to be in order.
        listed = 'e2fsck -p "$1" || [ $? -le 1 ]'
        self.lab.sandbox.run("tools", ["sh", "-c", listed, "", str(image)])
        self.lab.sandbox.run("tools", ["e2fsck", "-fn", str(image)])
        image.unlink()

    # -- checkpoints

    def checkpoint(self, name: str, way: str) -> tuple[Path, dict[str, Any]]:
        """Take one; its saved state and the report on it."""
        path = self.machine.checkpoint(name, way)
        report = path.with_name(path.stem + ".sparc.json")
        assert report.stat().st_mode & 0o777 == 0o600
        return path, json.loads(report.read_text())

    def restores(self) -> int:
        """Of how many restores the service has told so far."""
        return int(self.sh(f"{_COUNT_RESTORES} || true"))

    def await_restored(self, times: int) -> None:
        """Return when the service has told of so many restores."""
        self.sh(f"until [ $({_COUNT_RESTORES}) -ge {times} ]; do sleep 2; done")


def residue(
    path: Path, seed: int, classes: Sequence[str] = CLASSES, *, whole: bool = True
) -> dict[str, int]:
    """How often each class of secret stands in a saved state; classes with none are left out.

    Unless it is to be ``whole``, the file may end anywhere.
    """
    done = subprocess.run(
        [str(Path(sys.executable).with_name("sparc")), "audit", "--json", str(path)],
        input="\n".join(secret(seed, number) for number in range(len(classes))),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in ((0, 1) if whole else (1, 2)), done.stderr
    found: dict[str, int] = {}
    for finding in json.loads(done.stdout)["findings"]:
        name = classes[finding["secret"] - 1]
        found[name] = found.get(name, 0) + 1
    return found
