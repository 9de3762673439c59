// SPDX-License-Identifier: GPL-2.0-or-later
/* What the descriptors of excluded processes lead to: files, pipes, sockets, terminals. */
#include <linux/fdtable.h>
#include <linux/fs.h>

#include "sparc.h"

/* Anything that is open, however it was come by. */
int sparc_open_file(struct sparc_collection *collection, struct file *file)
{
	struct inode *inode = file_inode(file);

	if (S_ISFIFO(inode->i_mode))
		return sparc_pipe(collection, file);
	if (S_ISSOCK(inode->i_mode))
		return sparc_socket(collection, file);
	if (S_ISCHR(inode->i_mode))
		return sparc_terminal_file(collection, file);
	if (S_ISREG(inode->i_mode) || S_ISBLK(inode->i_mode))
		return sparc_file(collection, file);
	return 0;
}

int sparc_descriptors(struct sparc_collection *collection, struct task_struct *task)
{
	struct files_struct *files = task->files;
	struct fdtable *table;
	unsigned int i;
	int error;

	if (!files)
		return 0;
	error = sparc_object(collection, files, NULL);
	if (error <= 0)
		return error;
	table = rcu_dereference_raw(files->fdt);
	for (i = 0; i < table->max_fds; i++) {
		struct file *file = rcu_dereference_raw(table->fd[i]);

		if (file)
			error = sparc_open_file(collection, file);
		if (error < 0)
			return error;
	}
	return 0;
}
