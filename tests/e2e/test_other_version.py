"""The pack where it does not know VirtualBox: the machine works, and nothing looks protected."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mistakes import mistaken
from sparc_lab import Lab, Settings, VirtualBoxMachine
from sparc_lab.vboxmanage import TREE

_PROJECT = Path(__file__).parents[2]
# Where it looks for what VirtualBox has, it looks for what VirtualBox has not.
_UNKNOWN = {
    "version": ("vm.c", "VBOX_MAJOR(helpers->vbox_version) != 7", "1"),
    "function": ("vmm.c", '"VMR3Save"', '"VMR3SaveInAnotherWay"'),
    "table": (
        "vm.c",
        "{ machine.vmm.save, interpose_save",
        "{ (void *)clock_us, interpose_save",
    ),
}


@pytest.fixture(scope="module")
def lab_of_packs() -> Iterator[Lab]:
    """A lab that has packs which the machines of other tests are to know nothing of."""
    with Lab(owned=True) as lab:
        yield lab


@pytest.fixture(scope="module")
def machine(lab_of_packs: Lab) -> VirtualBoxMachine:
    """One that was started without a pack, with a checkpoint "before"."""
    machine = lab_of_packs.up(Settings("unknown", "virtualbox"))
    assert isinstance(machine, VirtualBoxMachine)
    machine.checkpoint("before")
    return machine


@pytest.fixture(scope="module")
def sparc(lab_of_packs: Lab, machine: VirtualBoxMachine) -> str:
    """The path of the command where VirtualBox is installed."""
    return str(lab_of_packs.install(_PROJECT) / "sparc")


@pytest.mark.parametrize(
    "what",
    ["version", *(pytest.param(what, marks=pytest.mark.long) for what in ("function", "table"))],
)
def test_it_does_not_look_protected(
    lab_of_packs: Lab, machine: VirtualBoxMachine, sparc: str, what: str, tmp_path: Path
) -> None:
    name, known, other = _UNKNOWN[what]
    folder = mistaken(tmp_path, f"host_service/extpack/{name}", known, other)
    subprocess.run(["make", "-s", "-C", folder], check=True)
    pack = lab_of_packs.sandbox.files / "Sparc.vbox-extpack"
    pack.write_bytes((folder / pack.name).read_bytes())
    machine.power_off()
    machine.manage("extpack", "install", "--replace", str(pack))
    machine.restore("before")

    path = machine.checkpoint(what)
    assert path.exists() and not path.with_name(path.stem + ".sparc.json").exists()
    assert machine.run(["echo", "goes on"]).text == "goes on"
    argv = [sparc, "status", machine.name]
    line = lab_of_packs.sandbox.argv(TREE, argv, machine.installation.variables)
    said = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert "NOT CLEAN" in said.stdout and "not in this VM's process" in said.stdout, said
