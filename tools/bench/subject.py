"""The machines that are measured: stock VirtualBox alone ("default"), and with sparc ("sparc")."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sparc_lab import Lab, Settings, VirtualBoxMachine

from tools.bench.footprint import Footprint
from tools.bench.vbox_log import between
from tools.protect import compile_for_guests, install_guest, install_pack

__all__ = ["PACK", "SYSTEMS", "Subject"]

SYSTEMS = ("default", "sparc")
PACK = "pack"
"""sparc's pack in VirtualBox, and nothing in the guest."""

_FRESH, _READY = "fresh", "ready"
_DIRTY = Path(__file__).parent / "dirty.c"
_HISTORY = "/run/sparc/history"
# Where each instruction is interpreted, the guest answers in seconds.
_TIMEOUT_MS = "600000"
_GUEST_SECONDS = 1800
# This kernel does not clear pages for their next user, so the module would clear them as they are
# freed. With the kernels of distributions it does not, and freed memory is dropped as it was left.
_END = """
    scrub=/sys/module/sparc/parameters/scrub
    [ ! -e $scrub ] || echo 0 >$scrub
    pid=$(cat /run/dirty); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.2; done
    [ ! -e $scrub ] || echo 2 >$scrub
"""


class Subject:
    """One machine with a checkpoint of how it was before anything was done in it."""

    def __init__(self, lab: Lab, memory: int, system: str) -> None:
        """Start it: `memory` in MB. A lab has either only machines with sparc, or none."""
        self.system = system
        self.memory = memory
        if system != "default":
            install_pack(lab)
        machine = lab.up(Settings(f"{system}{memory}", "virtualbox", memory=memory))
        assert isinstance(machine, VirtualBoxMachine)
        self._machine = machine
        machine.put(compile_for_guests(lab, _DIRTY), "/root/dirty")
        if system == "sparc":
            self._set("TimeoutMs", _TIMEOUT_MS)
            install_guest(lab, machine)
        machine.checkpoint(_FRESH)
        machine.power_off()

    @property
    def name(self) -> str:
        """As VirtualBox knows it."""
        return self._machine.name

    def saved_state(self, name: str) -> Path:
        """The file of a checkpoint."""
        return self._machine.saved_state(name)

    @classmethod
    @contextlib.contextmanager
    def pair(cls, memory: int, second: str = "sparc") -> Iterator[list[Subject]]:
        """Default and another, both off."""
        with contextlib.ExitStack() as stack:
            yield [
                cls(stack.enter_context(Lab(owned=True)), memory, system)
                for system in ("default", second)
            ]

    def make_ready(self, bring_about: Callable[[Subject], None]) -> None:
        """Do something to the fresh machine, and keep that state for `ready`."""
        self._forget(_READY)
        self._machine.restore(_FRESH)
        bring_about(self)
        # A checkpoint as it were of stock VirtualBox: nothing is taken out, so nobody is ended.
        self._set("Policy", "off")
        self._machine.checkpoint(_READY)
        self._set("Policy")
        self._machine.power_off()

    @contextlib.contextmanager
    def ready(self) -> Iterator[None]:
        """Let it go on from the state that was made ready; it is off afterwards."""
        self._machine.restore(_READY)
        # What the other one wrote is not for this one to wait for.
        os.sync()
        try:
            yield
        finally:
            self._machine.power_off()
            for name in self._machine.checkpoints():
                if name not in (_FRESH, _READY):
                    self._forget(name)

    def dirty(self, megabytes: int, *, end: bool = False, exclude: bool = False) -> None:
        """A program fills so much memory and rests, or has to ``end``; sparc excludes it."""
        run = "sparc run --" if exclude and self.system == "sparc" else ""
        self._sh(f"""
            rm -f /run/dirty
            setsid {run} /root/dirty {megabytes} </dev/null >/dev/null 2>/root/dirty.log &
            until [ -s /run/dirty ]; do sleep 0.5; done
        """)
        if end:
            self._sh(_END)

    def checkpoint(self, name: str, way: str = "vboxmanage") -> dict[str, float]:
        """Take one. In seconds: the command (``command``), the part of it in which the guest's side
        of sparc prepared (``prepare``), how long the guest stood still for the host's part
        (``still``), and what each step took; and ``file``, the size in bytes.
        """
        began = time.monotonic()
        path = self._machine.checkpoint(name, way)
        took = time.monotonic() - began
        size = path.stat().st_size
        return {
            **{"prepare": 0.0, **self.reported(path)},
            **self._logged(),
            "command": took,
            "file": size,
        }

    def reported(self, path: Path) -> dict[str, float]:
        """What sparc's report beside a saved state has: seconds of each step, pages and bytes."""
        report = path.with_name(path.stem + ".sparc.json")
        if self.system == "default" or not report.exists():
            return {}
        told = json.loads(report.read_text())
        assert told["clean"] or self.system == PACK, told["message"]
        return {
            **{step: us / 1e6 for step, us in told["steps_us"].items()},
            "stash_bytes": told["stash_bytes"],
            "stash_pages": told["pages"]["stash"],
            "drop_pages": told["pages"]["drop"],
            "extents": told["extents"],
            "extent_bytes": sum(kind["bytes"] for kind in told["kinds"].values()),
        }

    def weighed_checkpoint(self, name: str, way: str) -> tuple[Path, dict[str, int]]:
        """Take one; its file, and the bytes that the machine's process had in addition meanwhile:
        ``locked`` in memory, and ``anonymous``.
        """
        process = self._machine.recorded("vm")
        assert process
        with Footprint(process.pid) as footprint:
            path = self._machine.checkpoint(name, way)
        return path, {"locked": footprint.locked, "anonymous": footprint.anonymous}

    def in_guest(self) -> dict[str, float]:
        """Seconds, by the guest's clock, of what the last checkpoint had it do."""
        if self.system != "sparc":
            return {}
        noted = json.loads(self._sh(f"until [ -s {_HISTORY} ]; do sleep 0.2; done; cat {_HISTORY}"))
        told = noted["checkpoint"] or {}
        return {
            f"guest_{step}": told[f"{step}_us"] / 1e6
            for step in ("freeze", "collect", "thaw", "total")
            if f"{step}_us" in told
        }

    def restore(self, name: str, *, cached: bool = True) -> float:
        """Seconds in which VirtualBox reads the checkpoint, which may not be in the page cache."""
        if not cached:
            with self._machine.saved_state(name).open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._machine.restore(name, paused=True)
        return self._between("LOADING", "SUSPENDED")

    def _logged(self) -> dict[str, float]:
        return {
            "still": self._between("SUSPENDING", "RUNNING"),
            "suspending": self._between("SUSPENDING", "SUSPENDED"),
            "saving": self._between("SAVING", "SUSPENDED"),
            "resuming": self._between("RESUMING", "RUNNING"),
        }

    def _between(self, first: str, last: str) -> float:
        return between(self._machine.folder / "Logs/VBox.log", first, last)

    def _forget(self, name: str) -> None:
        if name in self._machine.checkpoints():
            self._machine.manage("snapshot", self._machine.name, "delete", name)

    def _set(self, key: str, *value: str) -> None:
        """Without a value there is none any more."""
        self._machine.manage("setextradata", self._machine.name, f"SPARC/{key}", *value)

    def _sh(self, script: str) -> str:
        path = "export PATH=/usr/local/sbin:/usr/local/bin:$PATH\n"
        done = self._machine.shell(path + script, _GUEST_SECONDS)
        if done.status:
            raise RuntimeError(done.stdout + done.stderr)
        return done.text
