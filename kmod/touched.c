// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The files that excluded processes have touched: each has a mark of fsnotify's, which tells of
 * closes and goes with its inode. It does not pin the inode: one that the kernel forgets has no
 * pages in memory any more. In hash while the inode is there.
 */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/hashtable.h>
#include <linux/slab.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

#define WAIT_MS 20

static DEFINE_HASHTABLE(touched, 10);
static DEFINE_SPINLOCK(touched_lock);
static struct fsnotify_group *group;

/* For those who have stopped all CPUs, or hold the lock. */
struct sparc_touched *sparc_touched_find(struct inode *inode)
{
	struct sparc_touched *file;

	hash_for_each_possible(touched, file, node, (unsigned long)inode)
		if (file->inode == inode)
			return file;
	return NULL;
}

/*
 * The caller knows that the inode is still there. False: its file system is going. Nothing sleeps
 * here, so that of an inode that is going the file system is let go later.
 */
bool sparc_touched_take(struct sparc_hold *hold, struct sparc_touched *file)
{
	hold->super = file->inode->i_sb;
	if (!atomic_inc_not_zero(&hold->super->s_active))
		return false;
	refcount_inc(&file->mark.refcnt);
	hold->file = file;
	hold->inode = igrab(file->inode);
	return true;
}

void sparc_touched_let_go(struct sparc_hold *hold)
{
	iput(hold->inode);
	deactivate_super(hold->super);
	fsnotify_put_mark(&hold->file->mark);
}

/* In a restored machine: killed processes let go of the inode and of the mark. */
void sparc_touched_hold(struct sparc_touched *file)
{
	struct super_block *super = file->inode->i_sb;

	refcount_inc(&file->mark.refcnt);
	if (!atomic_inc_not_zero(&super->s_active))
		return;
	file->held = igrab(file->inode);
	/* All CPUs stand still: it was not the last one before, so it is not now. */
	if (!file->held)
		atomic_dec(&super->s_active);
}

void sparc_touched_release(struct sparc_touched *file)
{
	if (file->held) {
		struct super_block *super = file->inode->i_sb;

		iput(file->inode);
		deactivate_super(super);
	}
	file->held = false;
	fsnotify_put_mark(&file->mark);
}

static struct sparc_touched *of_mark(struct fsnotify_mark *mark)
{
	return container_of(mark, struct sparc_touched, mark);
}

static int closed(struct fsnotify_mark *mark, u32 mask, struct inode *inode, struct inode *dir,
		  const struct qstr *name, u32 cookie)
{
	if (inode)
		sparc_file_closed(of_mark(mark), inode);
	return 0;
}

static void forget(struct sparc_touched *file)
{
	spin_lock(&touched_lock);
	hash_del(&file->node);
	spin_unlock(&touched_lock);
}

static void freeing(struct fsnotify_mark *mark, struct fsnotify_group *of)
{
	forget(of_mark(mark));
}

static void freed(struct fsnotify_mark *mark)
{
	kfree(of_mark(mark));
}

static const struct fsnotify_ops operations = {
	.handle_inode_event = closed,
	.freeing_mark = freeing,
	.free_mark = freed,
};

static bool again(struct inode *inode, bool written)
{
	struct sparc_touched *file = sparc_touched_find(inode);

	if (file) {
		file->written |= written;
		file->fresh = true;
	}
	return file;
}

static struct sparc_touched *new_file(struct inode *inode, bool written, bool pinned)
{
	struct sparc_touched *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return NULL;
	fsnotify_init_mark(&file->mark, group);
	file->mark.mask = FS_CLOSE_WRITE | FS_CLOSE_NOWRITE;
	if (!pinned)
		file->mark.flags |= FSNOTIFY_MARK_FLAG_NO_IREF;
	file->inode = inode;
	file->written = written;
	file->fresh = true;
	return file;
}

static int add(struct inode *inode, bool written, u32 keep)
{
	struct sparc_touched *file = new_file(inode, written, keep);
	int error = 0;

	if (!file)
		return -ENOMEM;
	file->keep = keep;
	spin_lock(&touched_lock);
	if (again(inode, written))
		error = -EEXIST;
	else
		hash_add(touched, &file->node, (unsigned long)inode);
	spin_unlock(&touched_lock);
	if (!error) {
		error = fsnotify_add_inode_mark(&file->mark, inode, 0);
		if (error)
			forget(file);
	}
	/* The group has a reference of its own. */
	fsnotify_put_mark(&file->mark);
	return error;
}

/* The caller holds the inode. */
static int touch(struct inode *inode, bool written)
{
	bool known;
	int error;

	spin_lock(&touched_lock);
	known = again(inode, written);
	spin_unlock(&touched_lock);
	if (known)
		return 0;
	error = add(inode, written, 0);
	return error == -EEXIST ? 0 : error;
}

/*
 * A file of a file system on top of another is there too, and its pages are; of a disk's node the
 * disk has them.
 */
int sparc_touch(struct file *file, bool written)
{
	int error = touch(file_inode(file), written);

	if (!error)
		error = touch(file->f_mapping->host, written);
	if (!error)
		error = touch(d_real_inode(file->f_path.dentry), written);
	return error;
}

/* Takes hold of the mark, so that what it is part of stays. */
static struct sparc_touched *grab(struct inode *inode)
{
	struct sparc_touched *file;

	spin_lock(&touched_lock);
	file = sparc_touched_find(inode);
	if (file)
		refcount_inc(&file->mark.refcnt);
	spin_unlock(&touched_lock);
	return file;
}

/* The mark of one that is kept pins its inode: it is known by that. */
int sparc_touch_keep(struct inode *inode, u32 keep)
{
	int error;

	do {
		struct sparc_touched *file = grab(inode);
		bool written = file && file->written;

		if (file) {
			fsnotify_destroy_mark(&file->mark, group);
			fsnotify_put_mark(&file->mark);
		}
		error = add(inode, written, keep);
	} while (error == -EEXIST);
	return error;
}

/* Of two that pass through at the same time, the later one misses nobody. */
static bool next_of(int bucket, u32 pass, struct sparc_hold *hold)
{
	struct sparc_touched *file;

	spin_lock(&touched_lock);
	hlist_for_each_entry(file, &touched[bucket], node) {
		if ((s32)(file->pass - pass) >= 0)
			continue;
		file->pass = pass;
		if (sparc_touched_take(hold, file))
			break;
	}
	spin_unlock(&touched_lock);
	return file;
}

/* Each of them, its inode held; what is done may sleep. */
void sparc_touched_each(void (*visit)(struct sparc_touched *file, struct inode *inode))
{
	static atomic_t passes = ATOMIC_INIT(0);
	u32 pass = atomic_inc_return(&passes);
	struct sparc_hold hold;
	size_t bucket;

	for (bucket = 0; bucket < HASH_SIZE(touched); bucket++) {
		while (next_of(bucket, pass, &hold)) {
			if (hold.inode)
				visit(hold.file, hold.inode);
			sparc_touched_let_go(&hold);
			cond_resched();
		}
	}
}

/* All CPUs stopped: none comes or goes. */
int sparc_touched_files(struct sparc_collection *collection)
{
	struct sparc_touched *file;
	int bucket, error;

	hash_for_each(touched, bucket, file, node) {
		error = sparc_touched_file(collection, file);
		if (error < 0)
			return error;
	}
	return 0;
}

static void drop(struct sparc_touched *file, struct inode *inode)
{
	fsnotify_destroy_mark(&file->mark, group);
}

void sparc_touched_forget(void)
{
	sparc_touched_each(drop);
}

int sparc_touched_start(void)
{
	group = fsnotify_alloc_group(&operations, SPARC_FSNOTIFY_GROUP);
	return PTR_ERR_OR_ZERO(group);
}

void sparc_touched_stop(void)
{
	/* One whose inode was just going is gone itself a moment later. */
	for (sparc_touched_forget(); !hash_empty(touched); sparc_touched_forget())
		msleep(WAIT_MS);
	fsnotify_wait_marks_destroyed();
	fsnotify_put_group(group);
}
