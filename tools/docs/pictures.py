"""Takes the pictures of docs/ from the real thing: `python -m tools.docs.pictures`, as root.

In a lab of its own it goes through docs/start.md once: VirtualBox's window and its Manager, the
report's page in Chromium, and what commands print. They are written to docs/assets.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image
from sparc_lab import Lab, LabError, Settings, VirtualBoxMachine
from sparc_lab.processes import wait_for
from sparc_lab.vboxmanage import TREE, Installation

from tools.docs import browser, gpg_agent, printed
from tools.protect import PROJECT, install_guest, install_pack

__all__ = ["main"]

_FOLDER = PROJECT / "docs/assets"
_NAME = "desk"
_MEMORY = 256
# The guest is interpreted: what takes others milliseconds takes it seconds.
_TIMEOUT_MS = "120000"
_SECONDS = 900
_COLOURS = 256
_MOST_BYTES = 150_000
# What VirtualBox says to whoever sees it for the first time, or has no USB.
_HINTS = "remindAboutAutoCapture,remindAboutMouseIntegration,cannotEnumerateHostUSBDevices"
# Scheme, width, height: on a phone it goes on below.
_REPORTS = {
    "report-light": ("light", 720, 1385),
    "report-dark": ("dark", 720, 1385),
    "report-phone": ("light", 360, 1050),
}
_COLUMNS, _ROWS = 112, 11


class _Scene:
    """The VM of docs/start.md, with gpg-agent in its guest, and a terminal of its host."""

    def __init__(self, lab: Lab, machine: VirtualBoxMachine, commands: Path) -> None:
        self.machine = machine
        self.files = lab.sandbox.files
        self._lab, self._commands = lab, commands

    def shell(self, script: str, ends: Sequence[int] = (0,)) -> str:
        """What a script prints on the host; it has to end with one of these."""
        told = f"export PATH={self._commands}:$PATH TERM=xterm-256color; {script}"
        variables = Installation(self._lab.sandbox).variables
        line = self._lab.sandbox.argv(TREE, ["bash", "-c", told], variables)
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_SECONDS)
        if done.returncode not in ends:
            raise LabError(f"{script}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def guest(self, script: str) -> str:
        """What a script prints in the guest."""
        done = self.machine.shell(f"export PATH=/usr/local/bin:$PATH\n{script}", _SECONDS)
        if done.status:
            raise LabError(f"in the guest: {done.stderr.decode()}")
        return done.text

    def type(self, command: str) -> None:
        """Type a command of sparc's at the guest's first terminal, and wait for its end."""
        self.machine.type("tty1", f"{command}\n")
        # The guest has other things to do than to look for it all the time.
        ended = f"sleep 5; while pgrep -f '[b]in/{command}' >/dev/null; do sleep 3; done; sleep 3"
        self.guest(ended)

    def window(self, name: str, title: str = "") -> None:
        """Take the picture of what VirtualBox shows, or of its window with that title."""
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, "screen.png")
            self.machine.window_screenshot(whole, title)
            with Image.open(whole) as image:
                # Around the windows it is black.
                _write(name, image.convert("RGB").crop(image.convert("L").getbbox()))


def _write(name: str, image: Image.Image) -> None:
    """Write a picture to the folder of the documentation, small."""
    target = _FOLDER / f"{name}.png"
    image.save(target, optimize=True)
    if target.stat().st_size > _MOST_BYTES:
        # Not the method that mixes colours of which there is little: they mean something.
        image = image.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        image.save(target, optimize=True)
    print(f"{target.relative_to(PROJECT)}: {image.width} x {image.height}", flush=True)


@contextlib.contextmanager
def _scene() -> Iterator[_Scene]:
    with Lab(owned=True) as lab:
        install_pack(lab)
        Installation(lab.sandbox).manage("setextradata", "global", "GUI/SuppressMessages", _HINTS)
        machine = lab.up(Settings(_NAME, "virtualbox", memory=_MEMORY))
        assert isinstance(machine, VirtualBoxMachine)
        machine.manage("setextradata", _NAME, "SPARC/TimeoutMs", _TIMEOUT_MS)
        install_guest(lab, machine)
        gpg_agent.install(lab, machine)
        yield _Scene(lab, machine, lab.install(PROJECT))


def _windows(scene: _Scene) -> None:
    """VirtualBox's window: a program is excluded, a snapshot taken, another one refused."""
    machine = scene.machine
    machine.type("tty1", "clear\n")
    scene.type("sparc exclude --name gpg-agent")
    machine.ask_in_window("first", lambda: scene.window("snapshot-dialog"))
    taken = lambda: "first" in machine.checkpoints() and machine.state() == "running"  # noqa: E731
    if not wait_for(taken, timeout=300, step=0.5):
        raise LabError("the window took no snapshot")
    scene.shell(f"sparc checkpoint {_NAME} --name second --description 'Before the upgrade.'")
    scene.guest("kill -9 $(cat /run/sparc-guestd.pid)")
    machine.ask_in_window("refused")
    machine.unfold_warning()
    scene.window("snapshot-refused")
    scene.shell(f"sparc host policy {_NAME} warn; sparc checkpoint {_NAME} --name third", (1,))


def _manager(scene: _Scene) -> None:
    """VirtualBox Manager, where the description of a snapshot says what it is."""
    for name in ("second", "third"):
        with scene.machine.in_manager(name):
            scene.window(f"manager-{name}", "Oracle VirtualBox Manager")


def _report(scene: _Scene, secret: str) -> None:
    """The page of a checkpoint, in a browser."""
    secrets, page = scene.files / "secrets", scene.files / "page.html"
    secrets.write_text(f"{secret}\n")
    scene.shell(f"sparc report {_NAME}:second --html {page} --secret-file {secrets}")
    for name, (scheme, width, height) in _REPORTS.items():
        _write(name, browser.shoot(page, scheme=scheme, width=width, height=height))


def _terminal(scene: _Scene) -> None:
    """`sparc top` as it is until q is typed."""
    sized = f"stty cols {_COLUMNS} rows {_ROWS}; sparc top {_NAME}"
    told = scene.shell(f"(sleep 2; printf q) | script -qec '{sized}' /dev/null")
    target = _FOLDER / "top.svg"
    target.write_text(printed.picture(f"sparc top {_NAME}", printed.screen(told), _COLUMNS))
    print(target.relative_to(PROJECT))


def main() -> None:
    """Take them all."""
    if os.geteuid() != 0:
        sys.exit("pictures: virtual machines are started as root")
    with _scene() as scene:
        pid = gpg_agent.start(scene.machine)
        _windows(scene)
        _manager(scene)
        _terminal(scene)
        # Not earlier: whoever asks has it in the guest's memory then, too.
        _report(scene, gpg_agent.secret(scene.machine, pid))


if __name__ == "__main__":
    main()
