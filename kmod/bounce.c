// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bounce buffers: where a device cannot reach all of RAM, as with more than 3 GB of it many cannot,
 * what it reads or writes passes through memory that it can reach. Nobody clears that afterwards.
 * What is not in use there is kept out; whose it was cannot be told.
 */
#include <linux/mm.h>
#include <linux/pci.h>
#include <linux/swiotlb.h>

#include "compat.h"
#include "sparc.h"

#define SLOT_BYTES	((size_t)IO_TLB_SIZE)
#define SLOTS_A_PAGE	(PAGE_SIZE / SLOT_BYTES)

/* The kernel's struct io_tlb_slot, which is private. */
struct slot {
	phys_addr_t origin;	/* INVALID_PHYS_ADDR: not in use */
	size_t length;
	unsigned int list;
};

static struct io_tlb_mem *memory;

/* All devices have the same, but for some that are given their own by firmware for other CPUs. */
void sparc_bounce_begin(void)
{
	struct pci_dev *device = NULL;

	memory = NULL;
	while (!memory && (device = pci_get_device(PCI_ANY_ID, PCI_ANY_ID, device)))
		memory = device->dev.dma_io_tlb_mem;
	pci_dev_put(device);
}

static const struct slot *slot(const struct sparc_tlb_pool *pool, unsigned long index)
{
	return (const struct slot *)pool->slots + index;
}

static bool in_use(const struct slot *slot)
{
	return slot->origin != INVALID_PHYS_ADDR;
}

/* What stands behind what is in use is of an earlier use. */
static size_t used_bytes(const struct slot *slot)
{
	return in_use(slot) ? min_t(size_t, slot->length, SLOT_BYTES) : 0;
}

static int page(struct sparc_collection *collection, const struct sparc_tlb_pool *pool,
		unsigned long first)
{
	phys_addr_t address = pool->start + first * SLOT_BYTES;
	unsigned long used = 0, i;
	int error = 0;

	for (i = 0; i < SLOTS_A_PAGE; i++) {
		const struct slot *one = slot(pool, first + i);

		used += in_use(one);
		if (in_use(one) && !pfn_valid(PHYS_PFN(one->origin))) {
			pr_warn_ratelimited("bounce buffers are not as they were known\n");
			return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
		}
	}
	if (!used)
		return sparc_pages(collection, PHYS_PFN(address), 1, SPARC_KIND_FREE);
	for (i = 0; i < SLOTS_A_PAGE && !error; i++) {
		size_t from = used_bytes(slot(pool, first + i));

		error = sparc_extent(collection->manifest,
				     phys_to_virt(address + i * SLOT_BYTES + from),
				     SLOT_BYTES - from, SPARC_KIND_FREE);
	}
	return error;
}

static int whole_pool(struct sparc_collection *collection, const struct sparc_tlb_pool *pool)
{
	unsigned long i;
	int error = 0;

	for (i = 0; i + SLOTS_A_PAGE <= pool->nslabs && !error; i += SLOTS_A_PAGE)
		error = page(collection, pool, i);
	return error;
}

int sparc_bounce(struct sparc_collection *collection)
{
	struct sparc_tlb_pool *pool = NULL;
	int error = 0;

	if (!memory)
		return 0;
	while (!error && (pool = sparc_tlb_next(memory, pool)))
		error = whole_pool(collection, pool);
	return error;
}

bool sparc_bounced(phys_addr_t address, phys_addr_t *origin)
{
	struct sparc_tlb_pool *pool = NULL;

	if (!memory)
		return false;
	while ((pool = sparc_tlb_next(memory, pool))) {
		if (!pool->nslabs || address < pool->start || address >= pool->end)
			continue;
		*origin = slot(pool, (address - pool->start) >> IO_TLB_SHIFT)->origin;
		if (*origin == INVALID_PHYS_ADDR)
			*origin = 0;
		return true;
	}
	return false;
}
