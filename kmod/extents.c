// SPDX-License-Identifier: GPL-2.0-or-later
/* Pages, and parts of them: what the kernel keeps of a process beside other people's things. */
#include <linux/bitops.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "sparc.h"

static phys_addr_t physical(const void *address)
{
	if (is_vmalloc_addr(address))
		return ((phys_addr_t)vmalloc_to_pfn(address) << PAGE_SHIFT) +
		       offset_in_page(address);
	return virt_to_phys((void *)address);
}

static int note(struct sparc_manifest *manifest, phys_addr_t gpa, size_t length, u32 kind)
{
	struct sparc_extent *extent = &sparc_run.extents[manifest->extents];

	if (manifest->extents == sparc_run.max_extents)
		return -ENOSPC;
	extent->gpa = gpa;
	extent->length = length;
	extent->kind = kind;
	manifest->extents++;
	return 0;
}

/* Note part of the kernel's memory, cut where pages end. -ENOSPC: there is no room for it. */
int sparc_extent(struct sparc_manifest *manifest, void *address, size_t length, u32 kind)
{
	while (length) {
		size_t part = min_t(size_t, length, SPARC_PAGE_SIZE - offset_in_page(address));
		int error = note(manifest, physical(address), part, kind);

		if (error)
			return error;
		address += part;
		length -= part;
	}
	return 0;
}

/* The same for part of a page, or of several that lie one after the other. */
int sparc_part(struct sparc_collection *collection, struct page *page, size_t offset,
	       size_t length, u32 kind)
{
	return sparc_extent(collection->manifest, page_address(page) + offset, length, kind);
}

/* Whole pages. -ENOSPC: there is no room for them, as they came after the load. */
int sparc_pages(struct sparc_collection *collection, unsigned long pfn, unsigned long count,
		u32 kind)
{
	if (pfn + count > sparc_run.ram_pages)
		return -ENOSPC;
	for (; count--; pfn++) {
		if (__test_and_set_bit(pfn, sparc_run.stash))
			continue;
		collection->manifest->kind_pages[kind]++;
		collection->manifest->stash_pages++;
	}
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct sparc_extent *x = a;
	const struct sparc_extent *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static bool in_a_page(const struct sparc_extent *extent)
{
	unsigned long pfn = extent->gpa >> PAGE_SHIFT;

	return test_bit(pfn, sparc_run.stash) || test_bit(pfn, sparc_run.drop);
}

/* Leaves out what is in pages that are kept out whole, and makes one of those that overlap. */
void sparc_extents_finish(struct sparc_manifest *manifest)
{
	struct sparc_extent *extents = sparc_run.extents, *last = NULL;
	u32 i, left = 0;

	sort(extents, manifest->extents, sizeof(*extents), by_address, NULL);
	for (i = 0; i < manifest->extents; i++) {
		struct sparc_extent *extent = &extents[i];

		if (in_a_page(extent))
			continue;
		if (last && extent->gpa < last->gpa + last->length) {
			u64 end = max(last->gpa + last->length, extent->gpa + extent->length);

			last->length = end - last->gpa;
			continue;
		}
		last = &extents[left++];
		*last = *extent;
	}
	manifest->extents = left;
	for (i = 0; i < left; i++)
		manifest->kind_bytes[extents[i].kind] += extents[i].length;
}
