// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which files are programs or libraries: those that are run, and are made to be. Anybody may map
 * anything so that it could be run, a database too.
 */
#include <linux/elf.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rbtree.h>

#include "touched.h"

static bool is_run(struct address_space *mapping)
{
	struct rb_node *node;

	for (node = rb_first_cached(&mapping->i_mmap); node; node = rb_next(node))
		if (rb_entry(node, struct vm_area_struct, shared.rb)->vm_flags & VM_EXEC)
			return true;
	return false;
}

/* What is not in memory is not looked for on the disk: then it is none. */
static bool is_elf(struct address_space *mapping)
{
	struct folio *folio = filemap_get_folio(mapping, 0);
	const struct elf64_hdr *header;
	bool elf;

	/* None is NULL, since 6.4 an error. */
	if (IS_ERR_OR_NULL(folio))
		return false;
	header = kmap_local_folio(folio, 0);
	elf = folio_test_uptodate(folio) && !memcmp(header->e_ident, ELFMAG, SELFMAG) &&
	      (header->e_type == ET_EXEC || header->e_type == ET_DYN);
	kunmap_local(header);
	folio_put(folio);
	return elf;
}

/* All CPUs stopped, or the lock of its mappings held. */
bool sparc_is_program(struct inode *inode)
{
	return is_run(inode->i_mapping) && is_elf(inode->i_mapping);
}
