"""A guest under QEMU with the module and the service, its host, and a look at its memory."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import drgn
import numpy as np
import numpy.typing as npt
from sparc_lab import Lab, QemuMachine

from sparc.abi import PAGE_SIZE, Request, State
from tests.guest.introspection import fetch_addresses, open_core
from tests.guest.manifest import Manifest
from tests.guest.qemu_host import QemuHost
from tests.guest.served import Served

__all__ = ["Protected"]


class Protected(Served):
    """The guest, its host, and its memory."""

    def __init__(self, lab: Lab, machine: QemuMachine, kernel: str) -> None:
        super().__init__(lab, machine, kernel)
        self._lab, self._kernel = lab, kernel
        self._folder = machine.folder / "protected"
        self._folder.mkdir()
        fetch_addresses(machine, self._folder)
        self.host = QemuHost(machine)

    def close(self) -> None:
        """The guest is left as it is."""
        self.host.close()

    @contextlib.contextmanager
    def parked(self) -> Iterator[None]:
        """Hold the guest still; it goes on afterwards."""
        self.host.ask(Request.PREPARE)
        status = self.host.await_state(State.PARKED, State.FAILED)
        assert status.state is State.PARKED, status
        try:
            yield
        finally:
            self.host.ask(Request.RESUMED)
        self.host.await_state(State.IDLE)

    def look(self) -> tuple[drgn.Program, npt.NDArray[np.uint8]]:
        """Park the guest, take its memory, let it go: its core, and all RAM by address."""
        with self.parked():
            program = open_core(self._lab, self.machine, self._kernel, self._folder)
        return program, self._ram()

    def memory(self) -> npt.NDArray[np.uint8]:
        """All memory as it is, by address, while the guest runs."""
        self.machine.core(self._folder / "core")
        return self._ram()

    def restore(self) -> None:
        """Do to the guest what a checkpoint and its restore do: what is kept out is zeros.

        It returns while the guest is still mending: what comes in then at the terminals of who was
        excluded is dropped. So nobody may be who is controlled by the one that `ok` talks on.
        """
        self.host.ask(Request.PREPARE)
        status = self.host.await_state(State.PARKED, State.FAILED)
        assert status.state is State.PARKED, status
        self.machine.core(self._folder / "core")
        manifest = Manifest.of(self._ram())
        canary = manifest.head.canary_gpa
        for extent in manifest.extents:
            self.host.write(int(extent["gpa"]), bytes(int(extent["length"])))
        for page in np.flatnonzero(manifest.drop | manifest.stash):
            # Last of all: from then on the guest goes on.
            if page * PAGE_SIZE != canary:
                self.host.write(int(page) * PAGE_SIZE, bytes(PAGE_SIZE))
        self.host.zero_canary()
        self.host.await_state(State.IDLE)

    def _ram(self) -> npt.NDArray[np.uint8]:
        return _ram(self._folder / "core", self.machine.memory_end)


def _ram(core: Path, size: int) -> npt.NDArray[np.uint8]:
    """RAM out of an ELF core, by address up to `size`; what is no RAM is zero."""
    ram = np.zeros(size, np.uint8)
    with core.open("rb") as file:
        header = file.read(64)
        (table,), (count,) = (
            struct.unpack_from("<Q", header, 32),
            struct.unpack_from("<H", header, 56),
        )
        for number in range(count):
            file.seek(table + number * 56)
            kind, _, offset, _, address, length = struct.unpack_from("<IIQQQQ", file.read(56))
            if kind == 1 and address < size:
                part = ram[address : min(address + length, size)]
                file.seek(offset)
                file.readinto(part.data)
    return ram
