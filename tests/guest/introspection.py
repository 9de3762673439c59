"""A machine's memory as drgn sees it: an independent witness of what stands where in its kernel."""

from __future__ import annotations

from pathlib import Path

import drgn
from sparc_lab import Lab, QemuMachine

__all__ = ["fetch_addresses", "open_core"]

_TYPES = Path(__file__).with_name("types")

# Variables of the kernel that drgn's helpers, or tests, ask for: debug information of headers has
# types alone.
_VARIABLES = {
    "__cpu_online_mask": "struct cpumask",
    "__cpu_possible_mask": "struct cpumask",
    "__per_cpu_offset": "unsigned long [8192]",
    "_totalram_pages": "atomic_long_t",
    "hstates": "struct hstate [2]",
    "init_mm": "struct mm_struct",
    "init_net": "struct net",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "init_uts_ns": "struct uts_namespace",
    "max_pfn": "unsigned long",
    "mem_section": "struct mem_section **",
    "node_data": "struct pglist_data *[1024]",
    "node_states": "nodemask_t [6]",
    "nr_cpu_ids": "unsigned int",
    "page_offset_base": "unsigned long",
    "super_blocks": "struct list_head",
    "tty_drivers": "struct list_head",
    "vc_cons": "struct vc [63]",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
}
# What drgn itself works out where the kernel's own debug information is loaded.
_BASES = {
    "PAGE_OFFSET": ("page_offset_base", "unsigned long"),
    "VMALLOC_START": ("vmalloc_base", "unsigned long"),
    "vmemmap": ("vmemmap_base", "struct page *"),
}


def open_core(lab: Lab, machine: QemuMachine, kernel: str, folder: Path) -> drgn.Program:
    """Dump the machine's memory into ``folder`` and open it.

    The lab's own kernel has its debug information with it; for Debian's, types come from a module
    built against their headers, and addresses from the guest's ``/proc/kallsyms``.
    """
    addresses = folder / "kallsyms"
    if not addresses.exists():
        fetch_addresses(machine, folder)
    core = folder / "core"
    machine.core(core)
    program = drgn.Program()
    program.set_core_dump(core)
    if kernel == "lab":
        program.load_debug_info([lab.module_target(kernel).folder.parent / "vmlinux"])
        return program
    types = program.extra_module("types", create=True)
    types.try_file(lab.build_module(_TYPES, kernel), force=True)
    _add_symbols(program, addresses)
    return program


def fetch_addresses(machine: QemuMachine, folder: Path) -> None:
    """Get what `open_core` needs of a guest that will not be able to answer then."""
    machine.shell("cat /proc/kallsyms > /root/kallsyms")
    machine.get("/root/kallsyms", folder / "kallsyms")


def _add_symbols(program: drgn.Program, addresses: Path) -> None:
    known: dict[str, int] = {}
    for line in addresses.read_text().splitlines():
        address, _, name, *module = line.split()
        if not module:
            known.setdefault(name, int(address, 16))

    def find(
        program: drgn.Program, name: str, flags: drgn.FindObjectFlags, filename: str | None
    ) -> drgn.Object | None:
        if flags & drgn.FindObjectFlags.VARIABLE and name in _VARIABLES and name in known:
            return drgn.Object(program, _VARIABLES[name], address=known[name])
        if name in _BASES:
            variable, type_name = _BASES[name]
            return drgn.Object(program, type_name, program[variable].value_())
        return None

    program.register_object_finder("kallsyms", find, enable_index=0)
