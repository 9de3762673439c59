// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Walks the page tables of a process, by the tables themselves and not by its
 * areas: so pages of an area that is just being unmapped are met too.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/pgtable.h>

#include "compat.h"
#include "sparc.h"

static void take(struct sparc_collection *collection, unsigned long pfn, unsigned long count)
{
	if (pfn + count > sparc_run.ram_pages)
		collection->beyond = true;
	else if (count == 1)
		__set_bit(pfn, sparc_run.stash);
	else
		bitmap_set(sparc_run.stash, pfn, count);
}

static void leave(unsigned long pfn, unsigned long count)
{
	if (pfn + count > sparc_run.ram_pages)
		return;
	if (count > 1)
		bitmap_clear(sparc_run.stash, pfn, count);
	else if (test_bit(pfn, sparc_run.stash))
		__clear_bit(pfn, sparc_run.stash);
}

/* Pages mapped by one entry. Of a large folio all is taken: parts may be unmapped, and not free. */
static void mapped(struct sparc_collection *collection, unsigned long pfn, unsigned long count)
{
	struct folio *folio;

	if (collection->outside) {
		leave(pfn, count);
		return;
	}
	if (!pfn_valid(pfn))
		return;
	folio = page_folio(pfn_to_page(pfn));
	if (!folio_test_anon(folio))
		return;
	if (folio_test_large(folio))
		take(collection, folio_pfn(folio), folio_nr_pages(folio));
	else
		take(collection, pfn, 1);
}

static void not_present(struct sparc_collection *collection, pte_t pte)
{
	unsigned long value;

	if (sparc_pte_in_swap(pte, &value)) {
		sparc_swap_note(collection, value);
	} else if (sparc_pte_migrates(pte, &value)) {
		if (collection->outside)
			leave(value, 1);
		else
			collection->in_motion = true;
	}
}

static void walk_ptes(struct sparc_collection *collection, pmd_t *pmd)
{
	pte_t *pte = pte_offset_kernel(pmd, 0);
	int i;

	for (i = 0; i < PTRS_PER_PTE; i++, pte++) {
		pte_t entry = READ_ONCE(*pte);

		if (pte_none(entry))
			continue;
		if (!pte_present(entry))
			not_present(collection, entry);
		else if (!pte_special(entry))
			mapped(collection, pte_pfn(entry), 1);
	}
}

static void walk_pmds(struct sparc_collection *collection, pud_t *pud)
{
	pmd_t *pmd = pmd_offset(pud, 0);
	int i;

	for (i = 0; i < PTRS_PER_PMD; i++, pmd++) {
		pmd_t entry = READ_ONCE(*pmd);

		if (pmd_none(entry))
			continue;
		if (!pmd_present(entry)) {
			/* One that the set shares is met there too. */
			if (sparc_pmd_migrates(entry) && !collection->outside)
				collection->in_motion = true;
		} else if (pmd_leaf(entry)) {
			mapped(collection, pmd_pfn(entry), PTRS_PER_PTE);
		} else {
			walk_ptes(collection, pmd);
		}
	}
}

static void walk_puds(struct sparc_collection *collection, p4d_t *p4d)
{
	pud_t *pud = pud_offset(p4d, 0);
	int i;

	for (i = 0; i < PTRS_PER_PUD; i++, pud++) {
		pud_t entry = READ_ONCE(*pud);

		if (!pud_present(entry))
			continue;
		if (pud_leaf(entry))
			mapped(collection, pud_pfn(entry), PTRS_PER_PTE * PTRS_PER_PMD);
		else
			walk_pmds(collection, pud);
	}
}

/* With 4-level tables the one p4d is the pgd's own entry. */
static void walk_p4ds(struct sparc_collection *collection, pgd_t *pgd)
{
	p4d_t *p4d = p4d_offset(pgd, 0);
	int i;

	for (i = 0; i < PTRS_PER_P4D; i++, p4d++)
		if (p4d_present(*p4d))
			walk_puds(collection, p4d);
}

/* Marks what the space maps, or, for one outside the set, takes the marks back. */
void sparc_tables_walk(struct sparc_collection *collection, struct mm_struct *mm)
{
	unsigned long last = pgd_index(TASK_SIZE_MAX - 1);
	unsigned long i;

	for (i = 0; i <= last; i++)
		if (pgd_present(mm->pgd[i]))
			walk_p4ds(collection, &mm->pgd[i]);
}
