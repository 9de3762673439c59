"""A lab: one sandbox, the machines in it, and where both are kept between commands."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from .build import KERNELS, Builder, Parts, Progress
from .cache import Cache, Entry, locked
from .errors import NotRunning, UsageError
from .hm import HmMachine
from .machine import Machine, Settings
from .modules import MODULE, Target, module
from .processes import Process, run
from .qemu import QemuMachine
from .sandbox import Sandbox
from .vboxmanage import HARDWARE, TREE, Installation, internals
from .virtualbox import STORED, VirtualBoxMachine

__all__ = ["Lab"]

_KINDS: dict[str, type[VirtualBoxMachine | QemuMachine]] = {
    "virtualbox": VirtualBoxMachine,
    "hm": HmMachine,
    "qemu": QemuMachine,
}
_BOOT_SECONDS = 600.0
_RESTORE_SECONDS = 120.0
_numbers = itertools.count()

Furnish = Callable[["Lab", VirtualBoxMachine], object]
"""Does something to a machine, in a lab of its own."""


class Lab:
    """The user's lab, which stays when this process ends; or, if ``owned``, one that ends with it.

    Labs are folders in ``$SPARC_LAB_HOME`` (default ``/var/lib/sparc-lab``). What the owner of an
    owned lab left behind when it was killed is removed by the next lab that is made.
    """

    def __init__(
        self, *, owned: bool = False, cache: Cache | None = None, progress: Progress | None = None
    ) -> None:
        self.cache = cache or Cache()
        self.progress = progress or Progress()
        self.owned = owned
        base = Path(os.environ.get("SPARC_LAB_HOME", "/var/lib/sparc-lab"))
        me = Process.of(os.getpid())
        assert me is not None
        name = f"owned-{me.pid}-{next(_numbers)}" if owned else "user"
        self.home = base / name
        # What is typed in guests passes through here: nobody else may look.
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(base / "lock"):
            _sweep(base)
            if owned:
                # Beside its home, which goes with its last machine and comes with the next.
                me.record(base / f"{name}.owner")
        self._lock = base / f"{name}.lock"
        self._parts: Parts | None = None
        self.sandbox = Sandbox(self.home)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def parts(self) -> Parts:
        """The parts that machines are made from; made now if the cache lacks them."""
        if self._parts is None:
            self._parts = self._builder.parts()
        return self._parts

    @property
    def _builder(self) -> Builder:
        return Builder(self.cache, self.progress)

    def build(self) -> Parts:
        """Make everything that the cache lacks; else each part is made when it is first used."""
        self._parts = self._builder.everything()
        return self._parts

    def start(self) -> None:
        """Start the sandbox alone, without a machine, if it does not run."""
        if self.sandbox.holder() is None:
            trees = {TREE: self.parts.virtualbox, "tools": self.parts.tools}
            self.sandbox.start(trees, owned=self.owned)

    def up(
        self,
        settings: Settings,
        *,
        cold: bool = False,
        stored: Path | None = None,
        hardware: Sequence[str] = (),
        whole: bool = False,
    ) -> Machine:
        """Start a machine; returns when its shell answers.

        Under VirtualBox it goes on from a booted state kept in the cache, unless ``cold``; or from
        what `VirtualBoxMachine.store` left in the folder ``stored``. ``hardware`` are options of
        ``VBoxManage modifyvm``; a state goes on only with those that it can be loaded with.
        ``whole`` gives a machine with one of Debian's kernels that kernel's own Debian, with udev,
        compiler, headers and DKMS: packages can be installed in it.

        Raises:
            UsageError: a machine of that name is up.
            StartError: it did not come up; nothing of it is left running.
        """
        ready = stored
        if ready is None and settings.hypervisor != "qemu" and not cold:
            ready = self._ready(settings)
        with self._changing():
            if settings.name in self.names():
                self._make_room(self._machine(settings.name))
            self.start()
            machine = _KINDS[settings.hypervisor](settings, self.sandbox)
            machine.prepare_folder("starting")
            try:
                if isinstance(machine, HmMachine):
                    machine.start_outer(self._builder.outer())
                if isinstance(machine, QemuMachine):
                    if settings.newest:
                        machine.find_newest(self.newest_qemu())
                    machine.create(self._builder.guest(settings.kernel, whole=whole))
                else:
                    machine.create(self.parts, stored=ready, hardware=hardware)
                quick = ready is not None and settings.hypervisor == "virtualbox"
                machine.start(_RESTORE_SECONDS if quick else _BOOT_SECONDS)
                machine.save_settings("up")
            except BaseException:
                self._keep_evidence(machine)
                self._remove(machine)
                raise
        return machine

    def machine(self, name: str) -> Machine:
        """
        Raises:
            NotRunning: there is no machine of that name.
        """
        if name not in self.names():
            raise NotRunning(name)
        return self._machine(name)

    def names(self) -> list[str]:
        """The names of this lab's machines."""
        return sorted(
            path.parent.parent.name for path in self.home.glob("files/*/run/machine.json")
        )

    def down(self, name: str) -> None:
        """End a machine and remove it; with the last one, the sandbox."""
        with self._changing():
            if name in self.names():
                self._remove(self._machine(name))
            elif self.names():
                raise NotRunning(name)
            else:
                self.sandbox.end()

    def close(self) -> None:
        """End all machines and the sandbox, and leave nothing of the lab."""
        with self._changing():
            self.sandbox.end()
        if self.owned:
            self._lock.unlink(missing_ok=True)
            self.home.with_suffix(".owner").unlink(missing_ok=True)

    def newest_qemu(self) -> Path:
        """A Debian tree with the newest QEMU."""
        return self._builder.newest_qemu()

    def host(self, argv: Sequence[str], name: str = "") -> int:
        """Run a program where the machines' VirtualBox is installed; its status.

        With the ``name`` of a machine, where that one's is: some have a VirtualBox of their own.
        """
        machine = self.machine(name) if name else None
        if isinstance(machine, VirtualBoxMachine):
            sandbox, installation = machine.sandbox, machine.installation
        else:
            sandbox, installation = self.sandbox, Installation(self.sandbox)
        line = sandbox.argv(TREE, argv, installation.variables)
        return subprocess.run(line, check=False).returncode

    def install(self, project: Path) -> Path:
        """Install a Python project where VirtualBox is installed; the folder of its commands.

        It gets a virtual environment that also sees the tree's packages. The path is one inside.
        """
        environment = self.sandbox.files / "python"
        wheels = self.sandbox.files / "wheels"
        # From a copy: building leaves folders behind that the next build would take files from.
        source = self.sandbox.files / "source"
        passing = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
        shutil.copytree(project, source, ignore=passing)
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        run([*pip, "--wheel-dir", str(wheels), str(source)])
        variables = Installation(self.sandbox).variables
        authorities = Path("/etc/ssl/certs/ca-certificates.crt")
        if authorities.exists():
            shutil.copy(authorities, self.sandbox.files)
            variables["PIP_CERT"] = str(self.sandbox.files / authorities.name)
        python = environment / "bin/python"
        for argv in (
            ["python3", "-m", "venv", "--system-site-packages", environment],
            [python, "-m", "pip", "install", "-q", *sorted(wheels.glob("*.whl"))],
        ):
            line = [str(word) for word in argv]
            self.sandbox.run(TREE, line, env=variables, timeout=600)
        return python.parent

    def build_module(self, source: Path, kernel: str = "lab") -> Path:
        """The ``.ko`` made from a folder of sources for one of the guests' kernels; made once.

        Raises:
            UsageError: no such kernel, or no sources.
            BuildError: it does not compile, or not without a warning.
        """
        entry = module(source, self.module_target(kernel))
        return self._builder.get(entry) / MODULE

    def furnished(self, settings: Settings, sources: Sequence[str], furnish: Furnish) -> Path:
        """The state of a machine under VirtualBox that ``furnish`` was done to; made once.

        ``sources`` are all the texts that decide what that does. What is returned goes to `up` as
        ``stored``.
        """
        return self._stored("furnished", settings, sources, furnish, cold=False)

    def module_target(self, kernel: str) -> Target:
        """What modules for one of the guests' kernels are built against.

        Raises:
            UsageError: no such kernel.
        """
        if kernel not in KERNELS:
            raise UsageError(f"no kernel {kernel!r}: {', '.join(KERNELS)}")
        return self._builder.target(kernel)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with locked(self._lock):
            yield

    def _make_room(self, earlier: Machine) -> None:
        """Remove what is left of a machine of the same name, unless somebody may still want it."""
        if self._phase(earlier.name) == "up" and self.sandbox.holder() is not None:
            what = "is up already"
            if earlier.state() in ("off", "aborted"):
                what = "is off and has checkpoints" if earlier.checkpoints() else ""
            if what:
                message = f"{earlier.name!r} {what}"
                raise UsageError(message, f"sparc-lab down --name {earlier.name}")
        earlier.remove()

    def _recorded(self, name: str) -> tuple[Settings, str]:
        """How a machine is made, and its phase."""
        record = json.loads((self.home / "files" / name / "run" / "machine.json").read_text())
        phase = record.pop("phase")
        return Settings(**record), phase

    def _phase(self, name: str) -> str:
        return self._recorded(name)[1]

    def _machine(self, name: str) -> Machine:
        settings, _ = self._recorded(name)
        return _KINDS[settings.hypervisor](settings, self.sandbox)

    def _remove(self, machine: Machine) -> None:
        machine.remove()
        if not self.names():
            self.sandbox.end()

    def _keep_evidence(self, machine: Machine) -> None:
        """Logs of a machine that did not start, for somebody to read."""
        target = self.home.parent / "failed" / machine.name
        shutil.rmtree(target, ignore_errors=True)
        patterns = ("*.log", "run/*.log", "Logs/*")
        for path in itertools.chain.from_iterable(machine.folder.glob(p) for p in patterns):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)

    def _ready(self, settings: Settings) -> Path:
        """The cache's booted state for a machine of this size."""
        size = Settings("ready", settings.hypervisor, settings.memory, settings.cpus)

        def settle(_: Lab, machine: VirtualBoxMachine) -> None:
            machine.shell("sync; echo 3 > /proc/sys/vm/drop_caches; sleep 3")

        return self._stored("booted", size, (), settle, cold=True)

    def _stored(
        self, kind: str, size: Settings, sources: Sequence[str], furnish: Furnish, *, cold: bool
    ) -> Path:
        """The cache's state of a machine after that was done to it, which the sources decide."""

        def make(path: Path, log: Path) -> None:
            with Lab(owned=True, cache=self.cache, progress=self.progress) as lab:
                machine = lab.up(size, cold=cold)
                assert isinstance(machine, VirtualBoxMachine)
                furnish(lab, machine)
                machine.store(path)

        around = [self._builder.outer().key] if size.hypervisor == "hm" else []
        given = (self.parts.key, *around, *HARDWARE, str(internals(size)), str(size), *sources)
        entry = Entry(kind, given, STORED, make)
        title = f"{kind} machine ({size.hypervisor}, {size.memory} MB, {size.cpus} CPU)"
        started: Callable[[], None] = lambda: self.progress.start(title)  # noqa: E731
        try:
            return self.cache.get(entry, started)
        finally:
            self.progress.done(title)


def _sweep(base: Path) -> None:
    """Remove labs whose owner is gone."""
    for owner in base.glob("owned-*.owner"):
        if Process.recorded(owner) is None:
            Sandbox(owner.with_suffix("")).end()
            owner.with_suffix(".lock").unlink(missing_ok=True)
            owner.unlink()
