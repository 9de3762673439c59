"""A lab machine under VirtualBox as users run it: with its kernel module, AMD-V and no window.

VirtualBox is inside a machine of QEMU's TCG, which emulates AMD-V. That one has the same tree as
root and the same files as the sandbox has, so all paths are the same inside and outside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .build import Outer
from .errors import CommandError, StartError, UsageError
from .guestimage import guest_file
from .machine import Settings
from .processes import Process, wait_for
from .sandbox import Sandbox, environment_argv, python_argv
from .vboxmanage import INSTALLED, TREE, Installation
from .virtualbox import VirtualBoxMachine

__all__ = ["HM_WAYS", "HmMachine"]

HM_WAYS = ("vboxmanage", "api", "live", "savestate")
"""Those of ``CHECKPOINT_WAYS`` that need no window."""

_QEMU = "qemu"
_OUTER_MB = 1536
_OUTER_SECONDS = 300.0
# With two, which QEMU runs side by side, every other guest of two CPUs ended in a triple fault.
_OUTER_CPUS = "1"
# The outer machine has these beside its console.
_UARTS = {"ttyS0": "/dev/ttyS1", "ttyS1": "/dev/ttyS2"}


class _OuterSandbox(Sandbox):
    """The sandbox, but what runs in VirtualBox's tree runs in the machine around VirtualBox."""

    def __init__(self, home: Path, name: str) -> None:
        super().__init__(home)
        self.commands = self.files / name / "commands"
        self.record = self.files / name / "run/outer.json"

    def argv(
        self, tree: str | None, argv: Sequence[str], env: Mapping[str, str] | None = None
    ) -> list[str]:
        """See `Sandbox.argv`."""
        if tree != TREE:
            return super().argv(tree, argv, env)
        paths = (str(self.commands), str(self.record))
        inside = environment_argv(argv, env)
        return super().argv(None, python_argv("sparc_lab.remote", *paths, *inside))


class HmMachine(VirtualBoxMachine):
    """A machine of a VirtualBox of its own, in a machine of QEMU of its own."""

    sandbox: _OuterSandbox
    ways = HM_WAYS
    # It shows no dialogs.
    launch_seconds = 300.0

    def __init__(self, settings: Settings, sandbox: Sandbox) -> None:
        super().__init__(settings, _OuterSandbox(sandbox.home, settings.name))
        self.installation = Installation(self.sandbox, self.folder / "config")

    def start_outer(self, outer: Outer) -> None:
        """Start the machine around VirtualBox; returns when it takes commands.

        Raises:
            StartError: it did not come up.
        """
        self.sandbox.add(_QEMU, outer.qemu, beside=TREE)
        commands = self.sandbox.commands
        commands.mkdir(mode=0o700)
        (commands / "outer-agent").write_text(guest_file("outer-agent"))
        for name, source in (("kernel", outer.kernel), ("initrd", outer.initrd)):
            (self.folder / f"outer.{name}").write_bytes(source.read_bytes())
        process = self.spawn("outer", _QEMU, self._outer_argv())
        ready = commands / "ready"
        wait_for(lambda: ready.exists() or not process.alive(), timeout=_OUTER_SECONDS)
        if not ready.exists():
            raise StartError(f"the machine around {self.name} did not start", self.evidence())
        if not wait_for(self._service_answers, timeout=_OUTER_SECONDS):
            raise StartError(f"VirtualBox around {self.name} does not answer", self.evidence())

    def _service_answers(self) -> bool:
        """Whether VirtualBox's service starts: on a busy host its clients give it up too early."""
        try:
            self.manage("list", "vms")
        except CommandError:
            return False
        return True

    def _outer_argv(self) -> list[str]:
        folder, files = self.folder, self.sandbox.files
        options = "security_model=passthrough,multidevs=remap"
        argv = [
            "qemu-system-x86_64",
            *(
                "-name",
                f"{self.name}-outer",
                "-M",
                "q35",
                "-accel",
                "tcg,thread=multi,tb-size=1024",
            ),
            *("-cpu", "EPYC", "-smp", _OUTER_CPUS, "-m", str(self.settings.memory + _OUTER_MB)),
            *("-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-kernel", f"{folder}/outer.kernel", "-initrd", f"{folder}/outer.initrd", "-append"),
            f"console=ttyS0 panic=-1 mitigations=off lab.files={files} lab.folder={folder}",
            *("-serial", f"file:{folder}/run/outer-console.log"),
            *("-fsdev", f"local,id=tree,path=/mnt,readonly=on,{options}"),
            *("-fsdev", f"local,id=files,path={files},{options}"),
        ]
        for share in ("tree", "files"):
            argv += ["-device", f"virtio-9p-pci,fsdev={share},mount_tag={share}"]
        for line in _UARTS:
            argv += ["-chardev", f"socket,id={line},path={folder}/{line}.vm,server=on,wait=off"]
        argv += ["-device", "pci-serial-2x,chardev1=ttyS0,chardev2=ttyS1"]
        return argv

    def cut_outer_power(self) -> None:
        """End the machine around VirtualBox as when its power fails."""
        if outer := Process.recorded(self.sandbox.record):
            outer.end(grace=0)

    def uart_mode(self, line: str) -> list[str]:
        """See `VirtualBoxMachine.uart_mode`: the outer machine's lines lead out of it."""
        return [_UARTS[line]]

    def launch(self, *options: str) -> Process:
        """Start its process, without a window."""
        argv = [f"{INSTALLED}/VBoxHeadless", "--startvm", self.name, "--vrde", "off", *options]
        return self.spawn("vm", TREE, argv, **self.installation.variables)

    def state(self) -> str:
        """See `Machine.state`."""
        if Process.recorded(self.sandbox.record) is None:
            return "absent"
        return super().state()

    def remove(self) -> None:
        """See `Machine.remove`: its VirtualBox goes with it."""
        self.cut_outer_power()
        super().remove()

    def window_screenshot(self, target: Path, title: str = "") -> None:
        """There is none."""
        raise UsageError(f"{self.name!r} has no window")
