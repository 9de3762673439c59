"""What is found of a kernel in a saved state alone, against what its debug information tells.

The guests' kernels are Debian's too, which VirtualBox would take hours to boot here: their memory,
as QEMU has it, is written into a saved state.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sparc_lab import Lab, QemuMachine

from sparc.kernel.free import free_pages, poisoned
from sparc.kernel.process import Processes
from sparc.kernel.program import open_kernel
from sparc.sav.core import segments
from sparc.sav.state import SavedState
from tests.guest.introspection import open_core
from tests.guest.witness import Witness
from tools.bench.savwriter import PAGE, SavWriter

_GROUP = "sleep 4711"


@pytest.fixture(scope="module")
def saved(
    lab: Lab, guest: QemuMachine, kernel: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Witness]:
    """A saved state with the guest's memory, and a witness that has its debug information."""
    folder = tmp_path_factory.mktemp("saved")
    guest.shell(
        "for i in 1 2 3; do head -c 300000 /dev/urandom > /root/file$i; done; sync;"
        f"exec 8</root/file1 9<>/root/file2; setsid {_GROUP} </dev/null >/dev/null 2>&1 &"
        "sleep 1; cat /root/file? > /dev/null"
    )
    program = open_core(lab, guest, kernel, folder)
    core = (folder / "core").read_bytes()
    low = [s for s in segments(folder / "core") if s.address < 1 << 32]
    ram = np.zeros(guest.settings.memory << 20, np.uint8)
    for one in low:
        end = min(one.address + one.size, len(ram))
        part = np.frombuffer(core, np.uint8, max(end - one.address, 0), one.offset)
        ram[one.address : end] = part
    path = folder / "made.sav"
    with path.open("wb", buffering=1 << 20) as file:
        writer = SavWriter(file)
        writer.begin("pgm", 1, 14)
        writer.pgm_fixed(guest.settings.cpus)
        writer.pgm_config(len(ram))
        for number in range(len(ram) // PAGE):
            if not 0xA0 <= number < 0x100:
                writer.ram(number, ram[number * PAGE :][:PAGE].tobytes())
        writer.pgm_end()
        writer.finish()
    return path, Witness(program, ram)


def test_free_memory(saved: tuple[Path, Witness]) -> None:
    path, witness = saved
    with SavedState(path) as state:
        program = open_kernel(state)
        assert not poisoned(program)
        free = np.zeros(witness.pages, bool)
        for pages in free_pages(program):
            free[pages.start : pages.stop] = True
    assert np.count_nonzero(free) > 1000
    assert np.array_equal(free, witness.free)


def test_what_a_process_has(saved: tuple[Path, Witness]) -> None:
    path, witness = saved
    with SavedState(path) as state:
        processes = Processes(open_kernel(state), state)
        found = processes.find([], ["sleep"])
        own = [task for task in witness.tasks if task.group in found]
        assert set(found.values()) == {"sleep"} == {task.name for task in own}
        belongings = processes.belongings(found)
    spaces = {task.mm for task in own}
    mapped = witness.mapped(spaces) > 0
    others = witness.mapped({t.mm for t in witness.tasks if t.mm} - spaces) > 0
    expected = np.flatnonzero(mapped & ~others & witness.anonymous)
    assert belongings.anonymous == expected.tolist()
    assert belongings.shared == np.count_nonzero(mapped & others & witness.anonymous)
    registers = {(at, at + size) for at, size in belongings.registers}
    assert registers == set(witness.registers(own))
    # Two files of 300,000 bytes.
    assert len(belongings.files.blank) + sum(map(len, belongings.files.kept.values())) >= 2 * 74
    assert belongings.absent == belongings.running == 0
    assert all(0 < size < PAGE + 1 for _, size in belongings.stacks)
