// SPDX-License-Identifier: GPL-2.0-or-later
/* The service: the one process that has /dev/sparc open. */
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>

#include "sparc.h"

static struct pid *opener;
static DEFINE_MUTEX(opener_lock);

bool sparc_has_opener(void)
{
	return READ_ONCE(opener);
}

bool sparc_is_opener(struct task_struct *task)
{
	return opener && task_tgid(task) == opener;
}

/* -EBUSY: there is one already. */
int sparc_opener_set(struct task_struct *task)
{
	int error = 0;

	mutex_lock(&opener_lock);
	if (opener)
		error = -EBUSY;
	else
		WRITE_ONCE(opener, get_pid(task_tgid(task)));
	mutex_unlock(&opener_lock);
	return error;
}

void sparc_opener_clear(void)
{
	struct pid *gone;

	mutex_lock(&opener_lock);
	gone = opener;
	WRITE_ONCE(opener, NULL);
	mutex_unlock(&opener_lock);
	put_pid(gone);
}
