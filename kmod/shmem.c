// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files that are nowhere but in memory: on tmpfs, ramfs and hugetlbfs, memfd, SysV and POSIX
 * shared memory, memory shared between relatives. In a restored machine they are empty: whoever
 * still has one mapped gets SIGBUS, and never zeros.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/xarray.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

static void hold(void *object)
{
	sparc_touched_hold(object);
}

/* A seal against it does not count: what it guards is gone. */
static void empty(struct inode *inode)
{
	struct iattr change = { .ia_valid = ATTR_SIZE | ATTR_CTIME | ATTR_MTIME };
	bool shmem = sparc_is_shmem(inode->i_mapping);
	struct dentry *name = d_find_any_alias(inode);
	unsigned int seals = 0;

	inode_lock(inode);
	change.ia_ctime = current_time(inode);
	change.ia_mtime = change.ia_ctime;
	if (shmem) {
		seals = SHMEM_I(inode)->seals;
		SHMEM_I(inode)->seals = 0;
	}
	if (!name || sparc_setattr(name, &change))
		truncate_setsize(inode, 0);
	if (shmem)
		SHMEM_I(inode)->seals = seals;
	inode_unlock(inode);
	dput(name);
}

static void mend(void *object)
{
	struct sparc_touched *file = object;

	if (file->held)
		empty(file->inode);
	sparc_touched_release(file);
}

static const struct sparc_remedy remedy = { .stopped = hold, .mend = mend };

int sparc_shmem(struct sparc_collection *collection, struct sparc_touched *file)
{
	struct address_space *mapping = file->inode->i_mapping;
	struct folio *folio;
	int error;

	XA_STATE(pages, &mapping->i_pages, 0);

	error = sparc_object(collection, file, &remedy);
	if (error <= 0)
		return error;
	xas_for_each(&pages, folio, ULONG_MAX) {
		if (xa_is_value(folio))
			return sparc_collect_blame(collection, SPARC_REASON_SWAP, NULL);
		if (folio_test_locked(folio) || folio_test_writeback(folio))
			return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
		error = sparc_pages(collection, folio_pfn(folio), folio_nr_pages(folio),
				    SPARC_KIND_SHMEM);
		if (error < 0)
			return error;
	}
	return 0;
}
