"""The lab's QEMU side: the same guest, and its memory as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sparc_lab import Lab, LabError, QemuMachine, Settings

_PLANT = Path(__file__).parents[1] / "e2e/victims/plant.py"
_PAGE = 4096


def test_the_guest_is_the_same_as_under_virtualbox(qemu: QemuMachine) -> None:
    assert qemu.run(["findmnt", "-no", "FSTYPE,SOURCE", "/"]).text.split() == ["ext4", "/dev/sda"]
    release = qemu.run(["uname", "-r"]).text
    assert release.startswith("6.1.")
    assert qemu.shell("[ -e /sys/kernel/btf/vmlinux ] && [ -e /proc/kallsyms ]").status == 0
    assert qemu.run(["cat", "/proc/1/comm"]).text == "init"


def test_ram_is_the_guests_memory_by_address(qemu: QemuMachine, tmp_path: Path) -> None:
    _check_planted(qemu, tmp_path)


def test_ram_goes_on_above_the_hole_for_devices(lab: Lab, tmp_path: Path) -> None:
    machine = lab.up(Settings("high", "qemu", memory=3328))
    assert isinstance(machine, QemuMachine)
    try:
        addresses = _check_planted(machine, tmp_path)
        assert (tmp_path / "ram").stat().st_size == (1 << 32) + (3328 - 3072 << 20)
        assert any(address >= 1 << 32 for address in addresses)
    finally:
        lab.down("high")


def test_it_has_no_checkpoints(qemu: QemuMachine, lab: Lab) -> None:
    with pytest.raises(LabError, match="is up already"):
        lab.up(Settings("quick", "qemu"))
    assert not hasattr(qemu, "checkpoint")


def _check_planted(machine: QemuMachine, folder: Path) -> list[int]:
    """Plant secrets and find each in the raw memory at the address the guest told."""
    import json

    from tests.e2e.victims.plant import ENCODINGS, encoded, secret

    machine.put(_PLANT, "/root/plant.py")
    machine.shell("setsid python3 /root/plant.py seed 16 >/root/plant.log 2>&1 &")
    waited = machine.shell("until [ -e /run/planted ]; do sleep 0.2; done; cat /run/planted", 60)
    places = json.loads(waited.text)
    machine.ram(folder / "ram")
    assert machine.state() == "running"
    with (folder / "ram").open("rb") as ram:
        for number, place in enumerate(places):
            data = encoded(secret("seed", number), ENCODINGS[number % len(ENCODINGS)])
            ram.seek(place["first"])
            part = min(len(data), _PAGE - place["first"] % _PAGE)
            assert ram.read(part) == data[:part]
            if part < len(data):
                ram.seek(place["last"] // _PAGE * _PAGE)
                assert ram.read(len(data) - part) == data[part:]
    return [place["first"] for place in places]
