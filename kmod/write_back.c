// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writing files to their disks, so that their pages can be evicted. Everybody stands still
 * meanwhile, and a disk may never answer, or only when a frozen process does (FUSE, a loop device,
 * NFS). So a worker writes, and is waited for as long as anything is written. Where it is
 * stuck it stays, and holds the one file that it is at; once it goes on it ends by itself.
 */
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "sparc.h"
#include "touched.h"

#define LOOK_MS		50
#define MOST_MS		60000

/* Less than a host waits. */
static unsigned int write_ms = 3000;
module_param(write_ms, uint, 0644);
MODULE_PARM_DESC(write_ms, "milliseconds without a page written after which write-back is stuck");

static struct workqueue_struct *queue;
static DECLARE_WAIT_QUEUE_HEAD(written);
/* A run that began before it was asked for has not seen all that was there to be written. */
static u32 asked, answered;

static void write(struct sparc_touched *file, struct inode *inode)
{
	if (sparc_in_memory_only(inode))
		return;
	sparc_page_cache_note(file, inode);
	if (sparc_file_wanted_now(file, inode))
		sparc_page_cache_write(inode);
}

static void write_all(struct work_struct *work)
{
	u32 question = READ_ONCE(asked);

	sparc_touched_each(write);
	WRITE_ONCE(answered, question);
	wake_up_all(&written);
}

static DECLARE_WORK(work, write_all);

static bool is_past(unsigned long since, unsigned int ms)
{
	return time_after(jiffies, since + msecs_to_jiffies(ms));
}

int sparc_write_back(struct sparc_collection *collection)
{
	unsigned long begin = jiffies, progress = begin, pages, before = 0;

	WRITE_ONCE(asked, asked + 1);
	queue_work(queue, &work);
	while (!wait_event_timeout(written, READ_ONCE(answered) == asked,
				   msecs_to_jiffies(LOOK_MS))) {
		if (sparc_park_abandoned(collection->sequence)) {
			sparc_collect_blame(collection, SPARC_REASON_ABANDONED, NULL);
			return -ECANCELED;
		}
		pages = global_node_page_state(NR_WRITTEN);
		if (pages != before)
			progress = jiffies;
		before = pages;
		if (is_past(progress, READ_ONCE(write_ms)) || is_past(begin, MOST_MS)) {
			sparc_collect_blame(collection, SPARC_REASON_WRITE_BACK, NULL);
			return -ETIMEDOUT;
		}
	}
	return 0;
}

int sparc_write_back_start(void)
{
	queue = alloc_workqueue("sparc", WQ_UNBOUND, 1);
	return queue ? 0 : -ENOMEM;
}

/* Waits until it goes on, however long that takes. */
void sparc_write_back_stop(void)
{
	destroy_workqueue(queue);
}
