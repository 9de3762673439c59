"""Who owns each page of a guest, worked out from its memory without the module's help.

drgn says where the kernel's lists and tables begin; tables of pages are read as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import drgn
import numpy as np
import numpy.typing as npt
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.llist import llist_for_each_entry
from drgn.helpers.linux.mm import follow_phys, virt_to_phys
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import for_each_task

__all__ = ["Task", "Witness"]

Pages = npt.NDArray[np.bool_]
Frames = npt.NDArray[np.int64]

_PAGE = 4096
_ENTRIES = 512
_PRESENT, _LEAF, _PROTNONE, _SPECIAL = 0x1, 0x80, 0x100, 0x200
_FRAME_MASK = 0x000F_FFFF_FFFF_F000
_STACK = 4 * _PAGE
_ANON = 1
_SLAB_TYPE = 0xF5
# Where the area that XSAVE writes has what a program put there: not the control words, not the
# header, without which the kernel could not go on with the task.
_FPU_DATA = ((32, 512), (576, None))


@dataclass(frozen=True)
class Task:
    """A thread with a user's memory, or one that has ended. `name`: of the thread."""

    pid: int
    group: int
    name: str
    mm: int
    ended: bool
    struct: drgn.Object


class Witness:
    """A kernel at one moment: its core opened by drgn, and the same memory as an array."""

    def __init__(self, program: drgn.Program, ram: npt.NDArray[np.uint8]) -> None:
        self._program = program
        self._words = ram.view("<u8").reshape(-1, _ENTRIES)
        self.pages = len(self._words)

    @cached_property
    def tasks(self) -> list[Task]:
        """All threads but the kernel's own."""
        kernel_thread = 0x200000
        return [
            Task(
                task.pid.value_(),
                task.tgid.value_(),
                task.comm.string_().decode(errors="replace"),
                task.mm.value_(),
                bool(task.exit_state),
                task,
            )
            for task in for_each_task(self._program)
            if not task.flags & kernel_thread
        ]

    # -- page tables

    def mapped(self, spaces: Iterable[int]) -> npt.NDArray[np.int32]:
        """How often each page frame is mapped in these address spaces (struct mm_struct *)."""
        counts = np.zeros(self.pages, np.int32)
        for mm in set(spaces):
            pgd = drgn.Object(self._program, "struct mm_struct *", mm).pgd
            for first, size in self._leaves(virt_to_phys(pgd).value_() // _PAGE):
                inside = first[first + size <= self.pages]
                np.add.at(counts, (inside[:, None] + np.arange(size)).ravel(), 1)
        return counts

    def _leaves(self, top: int) -> Iterator[tuple[Frames, int]]:
        """First frames of what a tree of page tables maps, and how many pages each is."""
        tables = np.array([top])
        levels = 5 if self._five_levels else 4
        for level in range(levels, 1, -1):
            entries = self._words[tables]
            if level == levels:
                entries = entries[:, : _ENTRIES // 2]
            entries = entries.ravel()
            leaf = (entries & _LEAF != 0) & (entries & (_PRESENT | _PROTNONE) != 0)
            if level <= 3:
                size = _ENTRIES ** (level - 1)
                yield _frames(entries[leaf]) & -size, size
            else:
                leaf[:] = False
            tables = _frames(entries[(entries & _PRESENT != 0) & ~leaf])
        entries = self._words[tables].ravel()
        there = (entries & (_PRESENT | _PROTNONE) != 0) & (entries & _SPECIAL == 0)
        yield _frames(entries[there]), 1

    @cached_property
    def _five_levels(self) -> bool:
        return b"NUMBER(pgtable_l5_enabled)=1" in self._vmcoreinfo

    @cached_property
    def _vmcoreinfo(self) -> bytes:
        return bytes(self._program["VMCOREINFO"].string_())

    # -- struct page

    @cached_property
    def _memmap(self) -> dict[str, npt.NDArray[Any]]:
        """Fields of every struct page: flags, head (page frame), mapping, mapcount, refcount."""
        page = self._program.type("struct page")
        base = self._program["vmemmap"].value_()
        raw = self._program.read(base, self.pages * drgn.sizeof(page))
        table = np.frombuffer(raw, np.uint8).reshape(self.pages, drgn.sizeof(page))

        def field(name: str, dtype: str) -> npt.NDArray[Any]:
            at = drgn.offsetof(page, name)
            return table[:, at : at + np.dtype(dtype).itemsize].copy().view(dtype).ravel()

        info = field("lru", "<u8")
        own = np.arange(self.pages)
        # The head's address, or, where it begins with nothing but ones, the mask to get there.
        address = (own * drgn.sizeof(page)).astype(np.uint64) + np.uint64(base)
        is_mask = info >= np.uint64(0xFFFF_FFFF_0000_0000)
        head = np.where(is_mask, address & info, info - np.uint64(1))
        head = ((head - np.uint64(base)) // np.uint64(drgn.sizeof(page))).astype(np.int64)
        tail = info & np.uint64(1) != 0
        return {
            "flags": field("flags", "<u8"),
            "head": np.where(tail & (head >= 0) & (head < self.pages), head, own),
            "mapping": field("mapping", "<u8"),
            "mapcount": field("_mapcount", "<i4"),
            "refcount": field("_refcount", "<i4"),
        }

    @property
    def head(self) -> Frames:
        """The first page frame of the compound page of each one, itself if it is in none."""
        return self._memmap["head"]

    @cached_property
    def slab(self) -> Pages:
        """Pages in which the kernel keeps its own small objects."""
        flags = dict(self._program.type("enum pageflags").enumerators or ())
        kind = self._memmap["mapcount"].view("<u4") >> 24 == _SLAB_TYPE
        if "PG_slab" in flags:
            kind |= self._memmap["flags"] >> np.uint64(flags["PG_slab"]) & np.uint64(1) != 0
        return np.asarray(kind[self.head])

    @property
    def anonymous(self) -> Pages:
        """Pages of processes' own memory."""
        anon = self._memmap["mapping"] & np.uint64(_ANON) != 0
        return np.asarray(anon[self.head] & ~self.slab & (self.refcount > 0))

    @property
    def refcount(self) -> npt.NDArray[np.int32]:
        """References to the page, or to the compound page that it is in."""
        return np.asarray(self._memmap["refcount"][self.head])

    @property
    def flags(self) -> npt.NDArray[np.uint64]:
        """Each page's own."""
        return self._memmap["flags"]

    @property
    def mapcount(self) -> npt.NDArray[np.int32]:
        """How often the kernel says that a page is mapped; true of those in no compound page."""
        return self._memmap["mapcount"] + np.int32(1)

    # -- free pages

    @cached_property
    def free(self) -> Pages:
        """Pages in lists of free ones: the zones', the CPUs', those put off, pools of huge ones.

        Raises AssertionError if a list is not as long as the kernel counts.
        """
        free = np.zeros(self.pages, bool)
        for zone in self._zones():
            listed = 0
            for order, area in enumerate(zone.free_area):
                for entries in area.free_list:
                    listed += self._note(free, self._listed(entries, "buddy_list"), 1 << order)
            assert listed == self._counted_free(zone), zone.name.string_()
            for cpu in for_each_possible_cpu(self._program):
                pages = per_cpu_ptr(zone.per_cpu_pageset, cpu)
                listed = 0
                for number, entries in enumerate(pages.lists):
                    found = self._listed(entries, "pcp_list")
                    listed += self._note(free, found, 1 << _pcp_order(number, len(pages.lists)))
                assert listed == pages.count.value_(), zone.name.string_()
            if hasattr(zone, "trylock_free_pages"):
                first = zone.trylock_free_pages.first
                for page in llist_for_each_entry("struct page", first, "pcp_llist"):
                    self._note(free, [page], 1 << page.private.value_())
        for pages, order in self._pools():
            self._note(free, pages, 1 << order)
        return free

    def _pools(self) -> Iterator[tuple[list[drgn.Object], int]]:
        """Free huge pages, and the order of each."""
        try:
            states = self._program["hstates"]
        except LookupError:  # a kernel without huge pages
            return
        for state in states:
            if state.order:
                for node in range(len(list(for_each_online_pgdat(self._program)))):
                    yield self._listed(state.hugepage_freelists[node], "lru"), state.order.value_()

    def _zones(self) -> Iterator[drgn.Object]:
        for node in for_each_online_pgdat(self._program):
            for zone in node.node_zones:
                if zone.present_pages:
                    yield zone

    def _listed(self, entries: drgn.Object, link: str) -> list[drgn.Object]:
        return list(list_for_each_entry("struct page", entries.address_of_(), link))

    def _note(self, free: Pages, pages: Iterable[drgn.Object], size: int) -> int:
        base = self._program["vmemmap"].value_()
        each = drgn.sizeof(self._program.type("struct page"))
        first = np.array([(page.value_() - base) // each for page in pages], np.int64)
        free[(first[:, None] + np.arange(size)).ravel()] = True
        return len(first) * size

    def _counted_free(self, zone: drgn.Object) -> int:
        item = self._program.constant("NR_FREE_PAGES").value_()
        count: int = zone.vm_stat[item].counter.value_()
        for cpu in for_each_possible_cpu(self._program):
            count += per_cpu_ptr(zone.per_cpu_zonestats, cpu).vm_stat_diff[item].value_()
        return count

    # -- what tasks have in the kernel

    def registers(self, tasks: Iterable[Task]) -> list[tuple[int, int]]:
        """Where the saved registers of these tasks are: guest-physical from and to, by page."""
        found: list[tuple[int, int]] = []
        for task in tasks:
            for start, length in (*self._general(task.struct), *self._vector(task.struct)):
                found += self._physical(start, length)
        return found

    def _general(self, task: drgn.Object) -> Iterator[tuple[int, int]]:
        regs = self._program.type("struct pt_regs")
        # A task that has ended gives its stack back before it goes itself.
        if task.stack:
            top = task.stack.value_() + _STACK - self._stack_padding
            yield top - drgn.sizeof(regs), drgn.offsetof(regs, "orig_ax")

    @cached_property
    def _stack_padding(self) -> int:
        """Kernels that know FRED leave room for its frame at the top of each stack."""
        return 16 if self._program.type("struct pt_regs").has_member("fred_cs") else 0

    def _vector(self, task: drgn.Object) -> Iterator[tuple[int, int]]:
        if hasattr(task.thread, "fpu"):
            fpu = task.thread.fpu.address_of_()
        else:
            behind = task.value_() + drgn.sizeof(self._program.type("struct task_struct"))
            fpu = drgn.Object(self._program, "struct fpu *", behind)
        area = fpu.fpstate.regs.address_of_().value_()
        size = fpu.fpstate.size.value_()
        for start, end in _FPU_DATA:
            yield area + start, (end or size) - start

    def _physical(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        while length:
            part = min(length, _PAGE - start % _PAGE)
            at = follow_phys(self._program["init_mm"].address_of_(), start).value_()
            yield at, at + part
            start += part
            length -= part


def _frames(entries: npt.NDArray[np.uint64]) -> Frames:
    """Page frames in entries; they are inverted where the page may not be touched."""
    hidden = entries & np.uint64(_PRESENT) == 0
    address = np.where(hidden, ~entries, entries) & np.uint64(_FRAME_MASK)
    return (address >> np.uint64(12)).astype(np.int64)


def _pcp_order(number: int, lists: int) -> int:
    """Three kinds of pages for each small order, and at the end lists of huge pages."""
    small = 12
    assert lists in (small + 1, small + 2)
    return number // 3 if number < small else 9
