// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What processes have mapped that is neither their own memory nor a file's: rings that they share
 * with the kernel (io_uring, AIO, perf, packets, BPF), buffers of drivers. Zeros in them are
 * nothing that the processes could not have written themselves.
 */
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/rbtree.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

#define NOTHING (~0UL)

/* Bytes to the end of what the entry at an address maps; its first page there, or NOTHING. */
static unsigned long entry(struct mm_struct *mm, unsigned long at, unsigned long *pfn)
{
	pgd_t *pgd = pgd_offset(mm, at);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	pte_t pte;

	*pfn = NOTHING;
	if (!pgd_present(*pgd))
		return PGDIR_SIZE - (at & ~PGDIR_MASK);
	p4d = p4d_offset(pgd, at);
	if (!p4d_present(*p4d))
		return P4D_SIZE - (at & ~P4D_MASK);
	pud = pud_offset(p4d, at);
	if (!pud_present(*pud))
		return PUD_SIZE - (at & ~PUD_MASK);
	if (pud_leaf(*pud)) {
		*pfn = pud_pfn(*pud) + ((at & ~PUD_MASK) >> PAGE_SHIFT);
		return PUD_SIZE - (at & ~PUD_MASK);
	}
	pmd = pmd_offset(pud, at);
	if (!pmd_present(*pmd))
		return PMD_SIZE - (at & ~PMD_MASK);
	if (pmd_leaf(*pmd)) {
		*pfn = pmd_pfn(*pmd) + ((at & ~PMD_MASK) >> PAGE_SHIFT);
		return PMD_SIZE - (at & ~PMD_MASK);
	}
	pte = READ_ONCE(*pte_offset_kernel(pmd, at));
	if (pte_present(pte))
		*pfn = pte_pfn(pte);
	return PAGE_SIZE;
}

/* A device's own memory has no struct page; the kernel's image is reserved. */
static bool is_buffer(unsigned long pfn)
{
	struct page *page;

	if (!pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	return !PageReserved(page) && !PageSlab(page);
}

static int take(struct sparc_collection *collection, unsigned long pfn, unsigned long count)
{
	int error = 0;

	for (; count-- && error >= 0; pfn++)
		if (is_buffer(pfn))
			error = sparc_pages(collection, pfn, 1, SPARC_KIND_OTHER);
	return error;
}

/* Whether an outsider has the very same thing mapped. */
static bool is_shared(struct vm_area_struct *area)
{
	struct rb_node *node = rb_first_cached(&area->vm_file->f_mapping->i_mmap);

	for (; node; node = rb_next(node)) {
		struct vm_area_struct *other = rb_entry(node, struct vm_area_struct, shared.rb);

		if (other->vm_file == area->vm_file && !sparc_is_space(other->vm_mm))
			return true;
	}
	return false;
}

/* An area with a file that is none. All CPUs stopped. */
int sparc_mapped_buffer(struct sparc_collection *collection, struct vm_area_struct *area)
{
	unsigned long at = area->vm_start, pfn, size;
	int error = 0;

	if (rwsem_is_locked(&area->vm_file->f_mapping->i_mmap_rwsem))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	if (is_shared(area))
		return 0;
	for (; at < area->vm_end && error >= 0; at += size) {
		size = min(entry(area->vm_mm, at, &pfn), area->vm_end - at);
		if (pfn != NOTHING)
			error = take(collection, pfn, size >> PAGE_SHIFT);
	}
	return error;
}
