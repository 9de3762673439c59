"""Exported guest memory in the hands of the programs it is exported for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import drgn
import pytest
from drgn.helpers.linux.pid import for_each_task
from sparc_lab import Lab, VirtualBoxMachine


@pytest.fixture(scope="module")
def exported(machine: VirtualBoxMachine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The machine's memory as an ELF core."""
    target = tmp_path_factory.mktemp("exported") / "memory.elf"
    program = Path(sys.executable).with_name("sparc")
    path = machine.checkpoint("exported")
    subprocess.run([program, "sav", "export", path, target, "--format", "elf"], check=True)
    return target


def test_drgn_lists_the_guests_processes(
    lab: Lab, machine: VirtualBoxMachine, exported: Path
) -> None:
    program = drgn.Program()
    program.set_core_dump(exported)
    program.load_debug_info([lab.parts.kernel / "vmlinux"])
    tasks = {(int(t.pid), t.comm.string_().decode()) for t in for_each_task(program)}
    lasting = machine.shell("ps -e -o pid=,comm= | grep -E 'init|agent|login|-?bash|kthreadd'").text
    listed = {
        (int(pid), name) for pid, name in (line.split(None, 1) for line in lasting.splitlines())
    }
    assert len(listed) >= 9
    # The shell that ps itself ran in came after the checkpoint.
    assert len(listed - tasks) <= 1
    assert (1, "init") in tasks


def test_volatility_takes_it_for_a_core(exported: Path) -> None:
    program = Path(sys.executable).with_name("vol")
    argv = [str(program), "-q", "-f", str(exported), "layerwriter.LayerWriter", "--list"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "Elf64Layer" in done.stdout, done.stderr
