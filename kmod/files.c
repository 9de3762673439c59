// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Files: what is kept out of each, and when. All that excluded processes have open, have mapped
 * or have had open since they were excluded is known by its inode (touched.c). Left in are the
 * programs and libraries that they run, files on temporary file systems that they only read,
 * and what the user wants kept.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

/* Counts how often the set was empty: what is kept is kept until then. */
static atomic_t generation = ATOMIC_INIT(1);

void sparc_files_keep_none(void)
{
	atomic_inc(&generation);
}

/* No disk has these: what is in memory is all there is. */
bool sparc_in_memory_only(struct inode *inode)
{
	return sparc_is_shmem(inode->i_mapping) || mapping_unevictable(inode->i_mapping) ||
	       inode->i_sb->s_magic == HUGETLBFS_MAGIC;
}

static bool is_text(struct sparc_touched *file, struct inode *inode)
{
	if (file->written || sparc_in_memory_only(inode))
		return false;
	if (!file->text)
		file->text = sparc_is_program(inode);
	return file->text;
}

/* All CPUs stopped, or the lock of its mappings held. */
bool sparc_file_wanted(struct sparc_touched *file, struct inode *inode)
{
	if (file->keep == atomic_read(&generation))
		return false;
	if (sparc_in_memory_only(inode))
		return file->written;
	return !is_text(file, inode);
}

bool sparc_file_wanted_now(struct sparc_touched *file, struct inode *inode)
{
	bool wanted;

	i_mmap_lock_read(inode->i_mapping);
	wanted = sparc_file_wanted(file, inode);
	i_mmap_unlock_read(inode->i_mapping);
	return wanted;
}

/* One of those that are known. All CPUs stopped. */
int sparc_touched_file(struct sparc_collection *collection, struct sparc_touched *file)
{
	struct inode *inode = file->inode;

	/* Huge pages are not counted there. */
	if (!inode->i_mapping->nrpages && !sparc_in_memory_only(inode) &&
	    !sparc_page_cache_elsewhere(file))
		return 0;
	if (rwsem_is_locked(&inode->i_mapping->i_mmap_rwsem))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	if (!sparc_file_wanted(file, inode))
		return 0;
	if (sparc_in_memory_only(inode))
		return sparc_shmem(collection, file);
	return sparc_page_cache(collection, file);
}

/* What a process has is known before the count; what is not was opened since. */
static int known(struct sparc_collection *collection, struct inode *inode, bool written)
{
	struct sparc_touched *file = sparc_touched_find(inode);

	if (!file || (written && !file->written))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	return 0;
}

int sparc_file(struct sparc_collection *collection, struct file *file)
{
	if (!sparc_is_file(file_inode(file)))
		return 0;
	return known(collection, file->f_mapping->host, file->f_mode & FMODE_WRITE);
}

int sparc_mapped_files(struct sparc_collection *collection, struct mm_struct *mm)
{
	struct vm_area_struct *area;
	int error;

	VMA_ITERATOR(areas, mm, 0);

	for_each_vma(areas, area) {
		if (!area->vm_file)
			continue;
		if (sparc_is_file(file_inode(area->vm_file)))
			error = known(collection, area->vm_file->f_mapping->host,
				      sparc_area_writes(area));
		else
			error = sparc_mapped_buffer(collection, area);
		if (error < 0)
			return error;
	}
	return 0;
}

/* Before each try: what is on no disk yet is written, so that all of it can be evicted. */
int sparc_files_begin(struct sparc_collection *collection)
{
	int error = sparc_files_adopt();

	if (error || sparc_watch_lost()) {
		sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
		return -ENOMEM;
	}
	return sparc_write_back(collection);
}

int sparc_files_keep(int fd)
{
	struct file *file = fget(fd);
	struct inode *inode;
	int error = -EINVAL;

	if (!file)
		return -EBADF;
	inode = file->f_mapping->host;
	if (sparc_is_file(inode))
		error = sparc_touch_keep(inode, atomic_read(&generation));
	fput(file);
	return error;
}

int sparc_files_start(void)
{
	int error = sparc_touched_start();

	if (error)
		return error;
	error = sparc_write_back_start();
	if (error)
		goto no_write_back;
	error = sparc_watch_start();
	if (error)
		goto no_watch;
	return 0;

no_watch:
	sparc_write_back_stop();
no_write_back:
	sparc_touched_stop();
	return error;
}

void sparc_files_stop(void)
{
	sparc_watch_stop();
	sparc_task_works_wait();
	sparc_write_back_stop();
	sparc_touched_stop();
}
