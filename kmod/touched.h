/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files about files share. */
#ifndef SPARC_TOUCHED_H
#define SPARC_TOUCHED_H

#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/magic.h>
#include <linux/task_work.h>

#include "sparc.h"

#define SPARC_AIO_RING_MAGIC 0xa10a10a1	/* no header has it */

/* A file that an excluded process has, or had since it was excluded. */
struct sparc_touched {
	struct fsnotify_mark mark;
	struct hlist_node node;
	struct inode *inode;	/* not held: the mark goes before it does */
	bool held;		/* in a restored machine, until it is mended */
	u32 pass;
	u32 keep;		/* kept for this generation of the set; 0: not */
	bool written;		/* it was open for writing, or mapped so */
	bool text;		/* a program or library that was run */
	bool fresh;		/* touched again since it was last evicted */
	bool in_blocks;		/* on ext4: its content is not in its inode */
};

/* A file in a file system, and not what only looks like one: event counters, rings, ... */
static inline bool sparc_is_file(struct inode *inode)
{
	return (S_ISREG(inode->i_mode) || S_ISBLK(inode->i_mode)) &&
	       inode->i_sb->s_magic != ANON_INODE_FS_MAGIC &&
	       inode->i_sb->s_magic != SPARC_AIO_RING_MAGIC;
}

/* One of them, its inode and its file system: none can go while it is held. */
struct sparc_hold {
	struct sparc_touched *file;
	struct super_block *super;
	struct inode *inode;	/* NULL: it is going already */
};

/* touched.c */

struct sparc_touched *sparc_touched_find(struct inode *inode);
bool sparc_touched_take(struct sparc_hold *hold, struct sparc_touched *file);
void sparc_touched_let_go(struct sparc_hold *hold);
void sparc_touched_hold(struct sparc_touched *file);
void sparc_touched_release(struct sparc_touched *file);
int sparc_touch(struct file *file, bool written);
int sparc_touch_keep(struct inode *inode, u32 keep);
void sparc_touched_each(void (*visit)(struct sparc_touched *file, struct inode *inode));
void sparc_touched_forget(void);
int sparc_touched_start(void);
void sparc_touched_stop(void);

/* files.c */

bool sparc_in_memory_only(struct inode *inode);
bool sparc_file_wanted(struct sparc_touched *file, struct inode *inode);
bool sparc_file_wanted_now(struct sparc_touched *file, struct inode *inode);
int sparc_touched_file(struct sparc_collection *collection, struct sparc_touched *file);

/* file_watch.c: what it gets */

int sparc_watch_start(void);
void sparc_watch_stop(void);
bool sparc_watch_lost(void);

/* file_close.c: what is done with those that were closed */

void sparc_file_closed(struct sparc_touched *file, struct inode *inode);

/* task_works.c: what a task does before it goes on */

int sparc_task_work(struct callback_head *work, task_work_func_t function);
void sparc_task_work_done(void);
void sparc_task_works_wait(void);

/* programs.c: which are programs and libraries */

bool sparc_is_program(struct inode *inode);

/* write_back.c: what is on no disk yet */

int sparc_write_back(struct sparc_collection *collection);
int sparc_write_back_start(void);
void sparc_write_back_stop(void);

/* mapped.c: what is no file's */

int sparc_mapped_buffer(struct sparc_collection *collection, struct vm_area_struct *area);

/* page_cache.c: files on disks; shmem.c: those that are nowhere but in memory */

int sparc_page_cache(struct sparc_collection *collection, struct sparc_touched *file);
void sparc_page_cache_note(struct sparc_touched *file, struct inode *inode);
bool sparc_page_cache_elsewhere(struct sparc_touched *file);
void sparc_page_cache_write(struct inode *inode);
void sparc_page_cache_evict(struct sparc_touched *file, struct inode *inode);
int sparc_shmem(struct sparc_collection *collection, struct sparc_touched *file);

#endif
