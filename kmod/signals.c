// SPDX-License-Identifier: GPL-2.0-or-later
/* What came with signals that wait for a process, and what its timers will send. */
#include <linux/posix-timers.h>
#include <linux/sched/signal.h>
#include <linux/signal_types.h>

#include "compat.h"
#include "sparc.h"

/*
 * A timer's own is kept for the next time: there only the value is the program's. All
 * other fields of one that was sent may have been chosen by the sender.
 */
static int payload(struct sparc_collection *collection, struct sigqueue *queued)
{
	if (queued->flags & SIGQUEUE_PREALLOC)
		return sparc_extent(collection->manifest, &queued->info.si_value,
				    sizeof(queued->info.si_value), SPARC_KIND_OTHER);
	return sparc_extent(collection->manifest, &queued->info._sifields,
			    sizeof(queued->info._sifields), SPARC_KIND_OTHER);
}

static int waiting(struct sparc_collection *collection, struct sigpending *pending)
{
	struct sigqueue *queued;
	int error = 0;

	list_for_each_entry(queued, &pending->list, list) {
		error = payload(collection, queued);
		if (error)
			break;
	}
	return error;
}

static int timers(struct sparc_collection *collection, struct signal_struct *signal)
{
	int error = 0;
#ifdef CONFIG_POSIX_TIMERS
	struct k_itimer *timer;

	sparc_for_each_timer(timer, signal) {
		struct sigqueue *queued = sparc_timer_signal(timer);

		if (queued)
			error = payload(collection, queued);
		if (error)
			break;
	}
#endif
	return error;
}

int sparc_signals(struct sparc_collection *collection, struct task_struct *task)
{
	struct signal_struct *signal = task->signal;
	int error = waiting(collection, &task->pending);

	if (error || !thread_group_leader(task))
		return error;
	error = waiting(collection, &signal->shared_pending);
	return error ? error : timers(collection, signal);
}
