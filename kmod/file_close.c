// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is done with a file that an excluded process has closed: its pages are thrown away, by that
 * process, before it goes on. Not while fsnotify tells of the close: a disk may be slow, and who
 * ends a watch of his waits until all that is told has been heard.
 */
#include <linux/fs.h>
#include <linux/slab.h>

#include "sparc.h"
#include "touched.h"

struct closing {
	struct callback_head work;
	struct sparc_hold hold;
};

static void evict(struct sparc_touched *file, struct inode *inode)
{
	if (sparc_file_wanted_now(file, inode))
		sparc_page_cache_evict(file, inode);
}

static void closed(struct callback_head *work)
{
	struct closing *closing = container_of(work, struct closing, work);

	if (closing->hold.inode)
		evict(closing->hold.file, closing->hold.inode);
	sparc_touched_let_go(&closing->hold);
	kfree(closing);
	sparc_task_work_done();
}

/* False: it has to be done at once. */
static bool done_later(struct sparc_touched *file)
{
	struct closing *closing;

	/* It never leaves the kernel. */
	if (current->flags & PF_KTHREAD)
		return false;
	closing = kmalloc(sizeof(*closing), GFP_KERNEL);
	if (!closing)
		return false;
	if (!sparc_touched_take(&closing->hold, file)) {
		kfree(closing);
		return false;
	}
	if (!sparc_task_work(&closing->work, closed))
		return true;
	sparc_touched_let_go(&closing->hold);
	kfree(closing);
	return false;
}

/* Told by whoever lets go of a file that was touched, with nobody else having it open so. */
void sparc_file_closed(struct sparc_touched *file, struct inode *inode)
{
	u32 flags;

	if (!READ_ONCE(file->fresh) || !inode->i_nlink || sparc_in_memory_only(inode))
		return;
	/* A task that ends is no member any more when its files are closed. */
	if (!(current->flags & (PF_EXITING | PF_KTHREAD)) &&
	    (!sparc_member_flags(current, &flags) || (flags & SPARC_MEMORY_ONLY)))
		return;
	if (!done_later(file))
		evict(file, inode);
}
