// SPDX-License-Identifier: GPL-2.0-or-later
/* What the service is told, in order, until it has read it. */
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "sparc.h"

struct entry {
	struct list_head node;
	struct sparc_event event;
};

static LIST_HEAD(entries);
static DEFINE_SPINLOCK(entries_lock);
DECLARE_WAIT_QUEUE_HEAD(sparc_events_wait);

/* Sleeps. What finds no memory is lost: the host's request then runs out of time. */
void sparc_event(u32 type, u32 sequence, s32 pid, const char *comm)
{
	struct entry *entry = kzalloc(sizeof(*entry), GFP_KERNEL);

	if (!entry)
		return;
	entry->event.type = type;
	entry->event.sequence = sequence;
	entry->event.pid = pid;
	if (comm)
		memcpy(entry->event.comm, comm, SPARC_COMM_LEN);
	spin_lock(&entries_lock);
	list_add_tail(&entry->node, &entries);
	spin_unlock(&entries_lock);
	wake_up_interruptible(&sparc_events_wait);
}

bool sparc_events_waiting(void)
{
	return !list_empty_careful(&entries);
}

bool sparc_events_next(struct sparc_event *event)
{
	struct entry *entry;

	spin_lock(&entries_lock);
	entry = list_first_entry_or_null(&entries, struct entry, node);
	if (entry)
		list_del(&entry->node);
	spin_unlock(&entries_lock);
	if (!entry)
		return false;
	*event = entry->event;
	kfree(entry);
	return true;
}

void sparc_events_clear(void)
{
	struct sparc_event event;

	while (sparc_events_next(&event))
		;
}
