// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The service freezes the other processes through cgroup.freeze files. If it is
 * killed meanwhile, nobody is left who could thaw them: so it hands over
 * each of these files first, and the module writes to them at its end.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dcache.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "sparc.h"

struct freeze {
	struct list_head node;
	struct file *file;
};

static LIST_HEAD(freezes);
static DEFINE_MUTEX(freezes_lock);

static bool is_freezer(struct file *file)
{
	return file->f_inode->i_sb->s_magic == CGROUP2_SUPER_MAGIC &&
	       (file->f_mode & FMODE_WRITE) &&
	       !strcmp(file->f_path.dentry->d_name.name, "cgroup.freeze");
}

int sparc_thaw_note(int fd)
{
	struct freeze *freeze = kmalloc(sizeof(*freeze), GFP_KERNEL);

	if (!freeze)
		return -ENOMEM;
	freeze->file = fget(fd);
	if (!freeze->file) {
		kfree(freeze);
		return -EBADF;
	}
	if (!is_freezer(freeze->file)) {
		fput(freeze->file);
		kfree(freeze);
		return -EINVAL;
	}
	mutex_lock(&freezes_lock);
	list_add(&freeze->node, &freezes);
	mutex_unlock(&freezes_lock);
	return 0;
}

static void release_all(bool thaw)
{
	struct freeze *freeze, *next;

	mutex_lock(&freezes_lock);
	list_for_each_entry_safe(freeze, next, &freezes, node) {
		loff_t start = 0;

		if (thaw && kernel_write(freeze->file, "0", 1, &start) != 1)
			pr_err("a cgroup could not be thawed\n");
		list_del(&freeze->node);
		fput(freeze->file);
		kfree(freeze);
	}
	mutex_unlock(&freezes_lock);
}

void sparc_thaw_forget(void)
{
	release_all(false);
}

void sparc_thaw_all(void)
{
	release_all(true);
}
