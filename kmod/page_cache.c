// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files on disks: their pages in the page cache. Only those that could be thrown away at any time
 * are kept out, and in a restored machine they are: whoever reads them next, or has them mapped,
 * gets them from the disk.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/buffer_head.h>
#include <linux/delay.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/jbd2.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/xarray.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

#define NTFS3_SUPER_MAGIC	0x7366746e	/* no header has it */
#define EVICT_MS	20

/* Of a mounted disk's some pages are always in use, and may stay: they were not made zeros. */
#define EVICT_TRIES	100
#define EVICT_TRIES_DISK	3

/* File systems that keep in a folio's private part nothing that matters once it is clean. */
static bool private_is_harmless(struct inode *inode)
{
	unsigned long magic = inode->i_sb->s_magic;

	return magic == XFS_SUPER_MAGIC || magic == BTRFS_SUPER_MAGIC;
}

static bool is_small(struct inode *inode)
{
	loff_t size = i_size_read(inode);

	return S_ISREG(inode->i_mode) && size && size <= PAGE_SIZE && inode->i_nlink;
}

/* Before each count, for the file system is asked: what the next function is to know. */
void sparc_page_cache_note(struct sparc_touched *file, struct inode *inode)
{
	struct sparc_fileattr attributes = { };
	struct dentry *name;

	file->in_blocks = false;
	if (inode->i_sb->s_magic != EXT4_SUPER_MAGIC || !is_small(inode))
		return;
	name = d_obtain_alias(igrab(inode));
	if (IS_ERR(name))
		return;
	file->in_blocks = !vfs_fileattr_get(name, &attributes) &&
			  !(attributes.flags & FS_INLINE_DATA_FL);
	dput(name);
}

/*
 * Whether the file system keeps a file so small with its own metadata: then it is in memory
 * there too, and cannot be kept out.
 */
bool sparc_page_cache_elsewhere(struct sparc_touched *file)
{
	struct inode *inode = file->inode;

	if (!is_small(inode))
		return false;
	switch (inode->i_sb->s_magic) {
	case EXT4_SUPER_MAGIC:
		return !file->in_blocks;
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case NTFS3_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/*
 * Of a disk that is mounted the file system's own blocks are in the same pages, some of them in
 * use. They stay: they are not the process's.
 */
static bool may_stay(struct inode *inode)
{
	return S_ISBLK(inode->i_mode);
}

static bool has_buffers(struct address_space *mapping)
{
	return mapping->a_ops->is_partially_uptodate == block_is_partially_uptodate;
}

/* A buffer that the file system still needs, or that the journal has. */
static bool buffer_in_use(struct buffer_head *buffer)
{
	return buffer_dirty(buffer) || buffer_locked(buffer) || buffer_jbd(buffer) ||
	       buffer_unwritten(buffer) || buffer_delay(buffer) ||
	       atomic_read(&buffer->b_count);
}

static bool buffers_in_use(struct folio *folio)
{
	struct buffer_head *head = folio_buffers(folio), *buffer = head;

	do {
		if (buffer_in_use(buffer))
			return true;
		buffer = buffer->b_this_page;
	} while (buffer != head);
	return false;
}

static bool can_go(struct address_space *mapping, struct folio *folio)
{
	if (folio_test_dirty(folio) || folio_test_writeback(folio) || folio_test_locked(folio))
		return false;
	if (!folio_test_private(folio))
		return true;
	if (has_buffers(mapping))
		return !buffers_in_use(folio);
	return private_is_harmless(mapping->host);
}

/* Until it is evicted nobody is to take zeros for what the file has. */
static void distrust(struct address_space *mapping, struct folio *folio)
{
	struct buffer_head *head, *buffer;

	folio_clear_uptodate(folio);
	if (!has_buffers(mapping) || !folio_test_private(folio))
		return;
	head = folio_buffers(folio);
	buffer = head;
	do {
		clear_buffer_uptodate(buffer);
		buffer = buffer->b_this_page;
	} while (buffer != head);
}

/* All CPUs stopped. */
static void hold(void *object)
{
	struct sparc_touched *file = object;
	struct address_space *mapping = file->inode->i_mapping;
	struct folio *folio;

	XA_STATE(pages, &mapping->i_pages, 0);

	sparc_touched_hold(file);
	xas_for_each(&pages, folio, ULONG_MAX)
		if (!xa_is_value(folio) && can_go(mapping, folio))
			distrust(mapping, folio);
}

static void mend(void *object)
{
	struct sparc_touched *file = object;
	struct inode *inode = file->inode;
	struct address_space *mapping;
	int left;

	if (file->held) {
		mapping = inode->i_mapping;
		left = may_stay(inode) ? EVICT_TRIES_DISK : EVICT_TRIES;
		unmap_mapping_range(mapping, 0, 0, 0);
		while (invalidate_inode_pages2(mapping) && --left)
			msleep(EVICT_MS);
		if (!left && !may_stay(inode))
			pr_err("%lu pages of inode %llu on %s cannot be read again\n",
			       mapping->nrpages, (u64)inode->i_ino, inode->i_sb->s_id);
	}
	sparc_touched_release(file);
}

static const struct sparc_remedy remedy = { .stopped = hold, .mend = mend };

int sparc_page_cache(struct sparc_collection *collection, struct sparc_touched *file)
{
	struct inode *inode = file->inode;
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;
	int error;

	XA_STATE(pages, &mapping->i_pages, 0);

	error = sparc_object(collection, file, &remedy);
	if (error <= 0)
		return error;
	if (sparc_page_cache_elsewhere(file)) {
		pr_warn_ratelimited("inode %llu on %s is small and lies in metadata\n",
				    (u64)inode->i_ino, inode->i_sb->s_id);
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	}
	xas_for_each(&pages, folio, ULONG_MAX) {
		if (xa_is_value(folio))
			continue;
		if (!can_go(mapping, folio)) {
			if (may_stay(inode))
				continue;
			return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
		}
		error = sparc_pages(collection, folio_pfn(folio), folio_nr_pages(folio),
				    SPARC_KIND_FILE);
		if (error < 0)
			return error;
	}
	return 0;
}

/* A file system in user space may be the very process that waits for this, or be frozen. */
void sparc_page_cache_write(struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;

	if (inode->i_sb->s_magic == FUSE_SUPER_MAGIC || !mapping->nrpages)
		return;
	if (mapping_tagged(mapping, PAGECACHE_TAG_DIRTY) ||
	    mapping_tagged(mapping, PAGECACHE_TAG_WRITEBACK))
		filemap_write_and_wait_range(mapping, 0, LLONG_MAX);
}

/* Nobody has it open any more: its name is held here only. */
static bool is_last(struct inode *inode)
{
	struct dentry *name = d_find_any_alias(inode);
	bool last = name && d_count(name) == 1;

	dput(name);
	return last;
}

/* What others have mapped stays; it is kept out as long as it does. */
void sparc_page_cache_evict(struct sparc_touched *file, struct inode *inode)
{
	struct address_space *mapping = inode->i_mapping;

	if (S_ISBLK(inode->i_mode))
		return;
	sparc_page_cache_write(inode);
	if (mapping_mapped(mapping))
		invalidate_mapping_pages(mapping, 0, -1);
	else
		invalidate_inode_pages2(mapping);
	/* Those that were just read wait in this CPU's batches. */
	sparc_drain_lru();
	if (!mapping->nrpages && is_last(inode))
		WRITE_ONCE(file->fresh, false);
}
