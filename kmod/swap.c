// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The swap cache: pages that were, or are to be, written to swap. Their process
 * has the number of a swap slot in place of the page, and so has the page itself.
 */
#include <linux/bitmap.h>
#include <linux/bsearch.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/sort.h>

#include "compat.h"
#include "sparc.h"

static int compare(const void *a, const void *b)
{
	const struct sparc_slot *x = a;
	const struct sparc_slot *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static struct sparc_slot *find(struct sparc_collection *collection, unsigned long number)
{
	struct sparc_slot key = { .number = number };

	return bsearch(&key, collection->slots, collection->slots_used, sizeof(key), compare);
}

/* A slot met in the page tables of the set; or of an outsider, who then shares it since a fork. */
void sparc_swap_note(struct sparc_collection *collection, unsigned long number)
{
	struct sparc_slot *slot;

	if (collection->outside) {
		slot = collection->slots_used ? find(collection, number) : NULL;
		if (slot)
			slot->shared = true;
		return;
	}
	if (collection->slots_used < collection->slots_size) {
		slot = &collection->slots[collection->slots_used];
		slot->number = number;
		slot->shared = false;
	}
	collection->slots_used++;
}

void sparc_swap_sort(struct sparc_collection *collection)
{
	sort(collection->slots, collection->slots_used, sizeof(*collection->slots), compare, NULL);
}

static bool is_wanted(struct sparc_collection *collection, struct folio *folio)
{
	unsigned long first = sparc_swap_slot(folio);
	long i;

	for (i = 0; i < folio_nr_pages(folio); i++) {
		struct sparc_slot *slot = find(collection, first + i);

		if (slot && !slot->shared)
			return true;
	}
	return false;
}

static void look_at(struct sparc_collection *collection, struct folio *folio)
{
	unsigned long pfn = folio_pfn(folio);
	unsigned long end = pfn + folio_nr_pages(folio);

	if (!folio_test_swapcache(folio) || !is_wanted(collection, folio))
		return;
	for (; pfn < end && pfn < sparc_run.ram_pages; pfn++)
		if (!__test_and_set_bit(pfn, sparc_run.stash))
			collection->manifest->kind_pages[SPARC_KIND_SWAP_CACHE]++;
}

void sparc_swap_cache(struct sparc_collection *collection)
{
	unsigned long pfn;
	int node;

	if (!collection->slots_used)
		return;
	for_each_online_node(node) {
		for (pfn = node_start_pfn(node); pfn < node_end_pfn(node); pfn++) {
			struct page *page;

			if (!pfn_valid(pfn))
				continue;
			page = pfn_to_page(pfn);
			if (page_folio(page) == (struct folio *)page)
				look_at(collection, page_folio(page));
		}
	}
}
