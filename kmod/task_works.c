// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a task does before it goes on, where it may sleep: on its way out of the kernel. The
 * module's code stays until all of it is done.
 */
#include <linux/atomic.h>
#include <linux/sched.h>
#include <linux/wait.h>

#include "compat.h"
#include "touched.h"

static atomic_t pending = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(idle);

/* The function ends with sparc_task_work_done(). An error: the task goes nowhere any more. */
int sparc_task_work(struct callback_head *work, task_work_func_t function)
{
	int error;

	init_task_work(work, function);
	atomic_inc(&pending);
	error = task_work_add(current, work, TWA_RESUME);
	if (error)
		sparc_task_work_done();
	return error;
}

void sparc_task_work_done(void)
{
	if (atomic_dec_and_test(&pending))
		wake_up_all(&idle);
}

/* Once there can be no more. */
void sparc_task_works_wait(void)
{
	wait_event(idle, !atomic_read(&pending));
	/* The last one may still have to return. */
	sparc_rcu_tasks_quiescent();
}
