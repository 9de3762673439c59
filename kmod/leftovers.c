// SPDX-License-Identifier: GPL-2.0-or-later
/* What else the kernel has of a task: its stack, its signals, its keys. */
#include "sparc.h"

int sparc_leftovers(struct sparc_collection *collection, struct task_struct *task)
{
	int error = sparc_stacks(collection, task);

	if (!error)
		error = sparc_signals(collection, task);
	if (!error)
		error = sparc_keys(collection, task);
	return error;
}
