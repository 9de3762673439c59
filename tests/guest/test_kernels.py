"""The guest under QEMU with each kernel: the lab's promises, and what tests of the kernel need."""

from __future__ import annotations

from pathlib import Path

import pytest
from sparc_lab import KERNELS, Lab, QemuMachine

from tests.guest.introspection import open_core
from tests.promises import check_files, check_outputs, check_typing
from tools.protect import PROJECT

_MODULE = """
#include <linux/module.h>
static int __init greet_init(void) { pr_info("greet: here\\n"); return 0; }
static void __exit greet_exit(void) { pr_info("greet: gone\\n"); }
module_init(greet_init);
module_exit(greet_exit);
MODULE_LICENSE("GPL");
"""


def test_the_kernel_is_the_named_one(guest: QemuMachine, kernel: str) -> None:
    version = "6.1" if kernel == "lab" else kernel.removeprefix("debian-")
    release = guest.run(["uname", "-r"]).text
    assert release.startswith(f"{version}.")
    assert release.endswith("-amd64") == (kernel != "lab")
    assert guest.run(["nproc"]).text == "2"


def test_it_is_a_machine_of_the_lab(guest: QemuMachine, tmp_path: Path) -> None:
    check_outputs(guest)
    check_files(guest, tmp_path, (20 << 20) + 1)


@pytest.mark.parametrize("terminal", ["tty1", "tty2", "ttyS0"])
def test_what_is_typed_reaches_the_terminal(guest: QemuMachine, terminal: str) -> None:
    check_typing(guest, terminal)


def test_the_guest_is_set_up_as_its_kind_is(guest: QemuMachine, kernel: str) -> None:
    """Nothing failed, no swap, version 2 of control groups with everybody in their place."""
    init = guest.run(["cat", "/proc/1/comm"]).text
    assert init == ("init" if kernel == "lab" else "systemd")
    assert guest.run(["findmnt", "-no", "FSTYPE", "/sys/fs/cgroup"]).text == "cgroup2"
    assert guest.run(["cat", "/proc/swaps"]).text.count("\n") == 0
    assert guest.run(["findmnt", "-no", "SOURCE,FSTYPE", "/"]).text.split() == ["/dev/sda", "ext4"]
    if init == "systemd":
        assert guest.run(["systemctl", "is-system-running", "--wait"]).text == "running"
        group = guest.run(["cat", "/proc/self/cgroup"]).text
        assert group == "0::/system.slice/lab-agent.service"
        assert guest.shell("modprobe zram && test -e /dev/zram0 && modprobe -r zram").status == 0


def test_python_runs_with_what_the_guests_programs_import(guest: QemuMachine) -> None:
    result = guest.run(["python3", "-c", "import click, ctypes, fcntl, select; print('fine')"])
    assert result.text == "fine", result.stderr


def test_what_a_command_leaves_running_goes_on(guest: QemuMachine) -> None:
    guest.shell("setsid sleep 1000 >/dev/null 2>&1 & echo $! > /tmp/pid")
    assert guest.shell("kill -0 $(cat /tmp/pid) && kill $(cat /tmp/pid)").status == 0


def test_a_module_built_for_it_loads(
    lab: Lab, guest: QemuMachine, kernel: str, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text("obj-m := greet.o\n")
    (tmp_path / "greet.c").write_text(_MODULE)
    guest.put(lab.build_module(tmp_path, kernel), "/root/greet.ko")
    result = guest.shell("insmod /root/greet.ko && rmmod greet; dmesg | grep -o 'greet: [gh].*'")
    assert result.text.split("\n") == ["greet: here", "greet: gone"], result.stderr


def test_the_module_refuses_a_kernel_that_it_was_not_built_for(
    lab: Lab, guest: QemuMachine, kernel: str
) -> None:
    other = KERNELS[KERNELS.index(kernel) - 1]
    guest.put(lab.build_module(PROJECT / "kmod", other), "/root/other.ko")
    result = guest.shell("insmod /root/other.ko")
    assert result.status != 0 and b"nvalid module format" in result.stderr, result
    assert guest.shell("[ -e /dev/sparc ]").status == 1


def test_its_core_tells_drgn_what_the_guest_says(
    lab: Lab, guest: QemuMachine, kernel: str, tmp_path: Path
) -> None:
    from drgn.helpers.linux.mm import for_each_page, for_each_vma
    from drgn.helpers.linux.pid import find_task, for_each_task

    marker = int(guest.shell("setsid sleep 4711 >/dev/null 2>&1 & echo $!").text)
    maps = guest.run(["cat", f"/proc/{marker}/maps"]).text.splitlines()
    program = open_core(lab, guest, kernel, tmp_path)
    names = {task.pid.value_(): task.comm.string_() for task in for_each_task(program)}
    assert names[1] == (b"init" if kernel == "lab" else b"systemd")
    assert names[marker] == b"sleep"
    areas = for_each_vma(find_task(program, marker).mm)
    starts = {int(line.split("-")[0], 16) for line in maps if "[vsyscall]" not in line}
    assert {area.vm_start.value_() for area in areas} == starts
    assert sum(1 for _ in for_each_page(program)) >= 1024 << 20 >> 12
    guest.run(["kill", str(marker)])
