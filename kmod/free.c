// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * All free pages of the guest, whoever's they were: the buddy lists, the lists
 * that each CPU keeps for itself, the pools of huge pages. With all CPUs stopped
 * nobody holds their locks.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/percpu.h>
#include <linux/stop_machine.h>

#include "compat.h"
#include "sparc.h"

/* Where the kernel will look for its poison in a page, that has to be put back. */
static unsigned long *target(void)
{
#ifdef CONFIG_PAGE_POISONING
	if (static_branch_unlikely(&_page_poisoning_enabled))
		return sparc_run.stash;
#endif
	return sparc_run.drop;
}

struct marking {
	unsigned long *bitmap;
	unsigned long count;
	bool beyond;
};

static void mark(struct marking *marking, struct page *page, unsigned int order)
{
	unsigned long pfn = page_to_pfn(page);

	if (pfn + (1UL << order) > sparc_run.ram_pages) {
		marking->beyond = true;
		return;
	}
	bitmap_set(marking->bitmap, pfn, 1UL << order);
	marking->count += 1UL << order;
}

static void mark_buddies(struct marking *marking, struct zone *zone)
{
	struct page *page;
	int order, type;

	for (order = 0; order <= SPARC_MAX_ORDER; order++)
		for (type = 0; type < MIGRATE_TYPES; type++)
			list_for_each_entry(page, &zone->free_area[order].free_list[type],
					    buddy_list)
				mark(marking, page, order);
}

static unsigned int list_order(int list)
{
	return list < NR_LOWORDER_PCP_LISTS ? list / MIGRATE_PCPTYPES : SPARC_PCP_BIG_ORDER;
}

static void mark_per_cpu(struct marking *marking, struct zone *zone)
{
	struct page *page;
	int cpu, list;

	for_each_possible_cpu(cpu) {
		struct per_cpu_pages *pages = per_cpu_ptr(zone->per_cpu_pageset, cpu);

		for (list = 0; list < NR_PCP_LISTS; list++)
			list_for_each_entry(page, &pages->lists[list], pcp_list)
				mark(marking, page, list_order(list));
	}
}

/* Pages that were freed where the zone's lock could not be had. */
static void mark_postponed(struct marking *marking, struct zone *zone)
{
#if SPARC_ZONE_HAS_LLIST
	struct page *page;

	llist_for_each_entry(page, READ_ONCE(zone->trylock_free_pages.first), pcp_llist)
		mark(marking, page, page->private);
#endif
}

/*
 * Huge pages waiting in their pool: they stand in no other list, and nobody clears them before
 * they are used again. The pool is not exported; its smallest pages are as large as a PMD's.
 */
static void mark_huge(struct marking *marking, int node)
{
	unsigned long pfn = ALIGN(node_start_pfn(node), PTRS_PER_PTE);

	for (; pfn < node_end_pfn(node); pfn += PTRS_PER_PTE) {
		struct folio *folio;

		if (!pfn_valid(pfn))
			continue;
		folio = page_folio(pfn_to_page(pfn));
		if (folio_pfn(folio) == pfn && folio_test_hugetlb(folio) &&
		    !folio_ref_count(folio))
			mark(marking, folio_page(folio, 0), folio_order(folio));
	}
}

static void mark_all(struct marking *marking)
{
	int node, i;

	for_each_online_node(node) {
		for (i = 0; i < MAX_NR_ZONES; i++) {
			struct zone *zone = &NODE_DATA(node)->node_zones[i];

			if (!populated_zone(zone))
				continue;
			mark_buddies(marking, zone);
			mark_per_cpu(marking, zone);
			mark_postponed(marking, zone);
		}
		mark_huge(marking, node);
	}
}

void sparc_free_pages(struct sparc_collection *collection)
{
	struct sparc_manifest *manifest = collection->manifest;
	struct marking marking = { .bitmap = target() };

	mark_all(&marking);
	manifest->kind_pages[SPARC_KIND_FREE] += marking.count;
	if (marking.bitmap == sparc_run.drop)
		manifest->drop_pages = marking.count;
	else
		manifest->stash_pages += marking.count;
	collection->beyond |= marking.beyond;
}

static int sweep_stopped(void *data)
{
	struct marking marking = { .bitmap = sparc_run.drop };
	unsigned long low = SPARC_MAILBOX_LIMIT >> PAGE_SHIFT;
	unsigned long pfn;

	mark_all(&marking);
	for_each_set_bit(pfn, sparc_run.drop, min(sparc_run.ram_pages, low))
		sparc_mailbox_wipe_stale(page_address(pfn_to_page(pfn)));
	return 0;
}

/*
 * A machine that was reset without warning still has the mailbox of its earlier kernel in
 * memory that is free now; the host would find both. Not where free pages are guarded.
 */
void sparc_free_sweep(void)
{
	if (target() == sparc_run.drop && !debug_pagealloc_enabled_static())
		stop_machine(sweep_stopped, NULL, NULL);
}
