"""Which page frames the kernel has as free."""

from __future__ import annotations

from collections.abc import Iterator

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.llist import llist_for_each_entry
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr

from sparc.errors import KernelNotRead
from sparc.kernel.explained import explained
from sparc.kernel.page import Pages

__all__ = ["free_pages", "poisoned"]

# Lists of a CPU: three kinds of pages for each small order, and at the end those of huge pages.
_SMALL_LISTS = 12
_HUGE_ORDER = 9
# Huge pages of 1 GB.
_HIGHEST_ORDER = 18


def poisoned(program: drgn.Program) -> bool:
    """Whether the kernel fills what is freed with a pattern, and looks for it again later."""
    try:
        key = program.symbol("_page_poisoning_enabled")
    except LookupError:
        return False
    return bool(program.read_u32(key.address))


def free_pages(program: drgn.Program) -> Iterator[range]:
    """Page frames in lists of free ones: the zones', the CPUs', those put off, of huge pages.

    Raises KernelNotRead if a list has another length than the kernel counts.
    """
    pages = Pages(program)
    with explained("lists of free memory"):
        for zone in _zones(program):
            listed = 0
            for order, area in enumerate(zone.free_area):
                for entries in area.free_list:
                    for first in _listed(entries, "buddy_list"):
                        listed += 1 << order
                        yield _range(pages.number(first), order)
            # Those that are isolated are listed, but not counted.
            if listed < _counted(program, zone):
                raise KernelNotRead("the list of free memory was about to change")
            yield from _of_cpus(program, pages, zone)
        yield from _huge(program, pages)


def _of_cpus(program: drgn.Program, pages: Pages, zone: drgn.Object) -> Iterator[range]:
    for cpu in for_each_possible_cpu(program):
        own = per_cpu_ptr(zone.per_cpu_pageset, cpu)
        listed = 0
        for number, entries in enumerate(own.lists):
            order = number // 3 if number < _SMALL_LISTS else _HUGE_ORDER
            for first in _listed(entries, "pcp_list"):
                listed += 1 << order
                yield _range(pages.number(first), order)
        if listed != own.count.value_():
            raise KernelNotRead("a CPU's list of free memory was about to change")
    if hasattr(zone, "trylock_free_pages"):
        first = zone.trylock_free_pages.first
        for page in llist_for_each_entry("struct page", first, "pcp_llist"):
            yield _range(pages.number(page), page.private.value_())


def _huge(program: drgn.Program, pages: Pages) -> Iterator[range]:
    """What is free in the pools of huge pages."""
    try:
        states = program["hstates"]
    except LookupError:  # a kernel without them
        return
    nodes = len(list(for_each_online_pgdat(program)))
    for state in states:
        if state.order:
            for node in range(nodes):
                for first in _listed(state.hugepage_freelists[node], "lru"):
                    yield _range(pages.number(first), state.order.value_())


def _range(first: int, order: int) -> range:
    # A liar's would be a number that fills all memory.
    if not 0 <= order <= _HIGHEST_ORDER:
        raise KernelNotRead("a list of free memory holds what cannot be in it")
    return range(first, first + (1 << order))


def _zones(program: drgn.Program) -> Iterator[drgn.Object]:
    for node in for_each_online_pgdat(program):
        for zone in node.node_zones:
            if zone.present_pages:
                yield zone


def _listed(entries: drgn.Object, link: str) -> Iterator[drgn.Object]:
    return list_for_each_entry("struct page", entries.address_of_(), link)


def _counted(program: drgn.Program, zone: drgn.Object) -> int:
    item = program.constant("NR_FREE_PAGES").value_()
    count: int = zone.vm_stat[item].counter.value_()
    for cpu in for_each_possible_cpu(program):
        count += per_cpu_ptr(zone.per_cpu_zonestats, cpu).vm_stat_diff[item].value_()
    return count
