"""Opens the kernel in a saved state for drgn: memory from the file, types and names from itself."""

from __future__ import annotations

import functools
from collections.abc import Callable

import drgn
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

from sparc.errors import KernelNotRead, PageNotStored
from sparc.kernel.btf import Btf
from sparc.kernel.explained import explained
from sparc.sav.export import vmcoreinfo
from sparc.sav.state import SavedState

__all__ = ["open_kernel"]

_PAGE = 4096
_CACHED = 8192
_MOST_TYPES = 256 << 20

# What BTF has no type of. Those of which a kernel has another form are told by its other types.
_VARIABLES = {
    "__cpu_online_mask": "struct cpumask",
    "__cpu_possible_mask": "struct cpumask",
    "__per_cpu_offset": "unsigned long [{cpus}]",
    "hstates": "struct hstate [2]",
    "init_mm": "struct mm_struct",
    "init_net": "struct net",
    "init_pid_ns": "struct pid_namespace",
    "init_task": "struct task_struct",
    "contig_page_data": "struct pglist_data",
    "node_data": "struct pglist_data *[1024]",
    "node_states": "nodemask_t [6]",
    "nr_cpu_ids": "unsigned int",
    "page_offset_base": "unsigned long",
    "vc_cons": "struct vc [63]",
    "vmalloc_base": "unsigned long",
    "vmemmap_base": "unsigned long",
}
# Where these begin when they are not moved about; with tables of five levels, elsewhere.
_BASES = {
    "PAGE_OFFSET": ("page_offset_base", "unsigned long", 0xFFFF888000000000, 0xFF11000000000000),
    "VMALLOC_START": ("vmalloc_base", "unsigned long", 0xFFFFC90000000000, 0xFFA0000000000000),
    "vmemmap": ("vmemmap_base", "struct page *", 0xFFFFEA0000000000, 0xFFD4000000000000),
}


def open_kernel(state: SavedState) -> drgn.Program:
    """The kernel of a Linux guest (x86-64, 6.0 or newer, with BTF and kallsyms).

    Raises KernelNotRead where it has not what is needed, or what is there is damaged.
    """
    info = vmcoreinfo(state)
    if info is None:
        raise KernelNotRead("no Linux kernel that tells of itself (VMCOREINFO) is in memory")
    flags = drgn.PlatformFlags.IS_64_BIT | drgn.PlatformFlags.IS_LITTLE_ENDIAN
    program = drgn.Program(drgn.Platform(drgn.Architecture.X86_64, flags))
    for start, size in state.memory.ram_ranges():
        program.add_memory_segment(start, size, _reader(state), physical=True)
    with explained("its tables of pages"):
        program.set_linux_kernel_custom(info, False)
    with explained("its names (kallsyms; kernels before 6.0 do not tell where they are)"):
        names = load_vmlinux_kallsyms(program)
        program.register_symbol_finder("kallsyms", names, enable_index=0)
        start, stop = (program.symbol(f"__{end}_BTF").address for end in ("start", "stop"))
    with explained("its types (BTF)"):
        if not 0 < stop - start <= _MOST_TYPES:
            raise KernelNotRead("the kernel's types (BTF) are not in memory")
        Btf(program, program.read(start, stop - start)).register()
    _add_variables(program, b"NUMBER(pgtable_l5_enabled)=1" in info)
    return program


def _reader(state: SavedState) -> Callable[[int, int, int, bool], bytes]:
    # Names are read a few bytes at a time.
    page = functools.lru_cache(_CACHED)(state.page)

    def read(address: int, count: int, _offset: int, _physical: bool) -> bytes:
        first, inside = address & -_PAGE, address % _PAGE
        try:
            if inside + count <= _PAGE:
                return page(first)[inside : inside + count]
            return state.read(address, count)
        except PageNotStored as error:
            raise drgn.FaultError("not in the saved state", address) from error

    return read


def _add_variables(program: drgn.Program, five_levels: bool) -> None:
    def find(
        program: drgn.Program, name: str, flags: drgn.FindObjectFlags, filename: str | None
    ) -> drgn.Object | None:
        if name in _BASES:
            variable, kind, base, wide = _BASES[name]
            try:
                value = program[variable].value_()
            except LookupError:
                value = wide if five_levels else base
            return drgn.Object(program, kind, value)
        if not flags & drgn.FindObjectFlags.VARIABLE or name not in _VARIABLES:
            return None
        try:
            symbol = program.symbol(name)
        except LookupError:
            return None
        cpus = max(1, symbol.size // 8)
        return drgn.Object(program, _VARIABLES[name].format(cpus=cpus), address=symbol.address)

    program.register_object_finder("kallsyms", find, enable_index=0)
