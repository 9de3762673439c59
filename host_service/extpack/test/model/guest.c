// SPDX-License-Identifier: GPL-2.0-or-later
/* The guest: the module's own park.c and mailbox.c, and a service as Python's is. */
#include "kernel.h"

#include "../../../../kmod/mailbox.c"
#include "../../../../kmod/park.c"

#define PARK_TURNS	40

struct task_struct excluded_task = { .comm = "excluded" };

/* ------------------------------------------------ events for the service */

#define EVENTS	8

static struct sparc_event events[EVENTS];
static size_t event_count;

void sparc_event(u32 type, u32 number, s32 pid, const char *comm)
{
	(void)pid;
	(void)comm;
	if (event_count < EVENTS)
		events[event_count++] = (struct sparc_event){ .type = type, .sequence = number };
}

bool sparc_has_opener(void)
{
	return world.opener;
}

/* ------------------------------------------------ the count */

int sparc_collect_blame(struct sparc_collection *collection, u32 reason, struct task_struct *task)
{
	(void)task;
	collection->reason = reason;
	return -EAGAIN;
}

int sparc_collect_begin(struct sparc_collection *collection)
{
	if (!world_fails())
		return 0;
	sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
	return -ENOMEM;
}

int sparc_collect_stopped(struct sparc_collection *collection)
{
	struct sparc_manifest *manifest = &sparc_mailbox->manifest;

	if (world_fails())
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	memset(manifest, 0, offsetof(struct sparc_manifest, crc));
	memset(sparc_run.base, 0, sparc_run.capacity);
	manifest->sequence = collection->sequence;
	set_bit(FREED_PAGE, sparc_run.drop);
	manifest->drop_pages = manifest->kind_pages[SPARC_KIND_FREE] = 1;
	if (world.excluded) {
		set_bit(SECRET_PAGE, sparc_run.stash);
		manifest->stash_pages = manifest->kind_pages[SPARC_KIND_ANON] = 1;
	}
	/* The host is late: the guest does not wait for ever. */
	park_turns = world_fails() ? 2 : PARK_TURNS;
	manifest->run_bytes = 2 * SPARC_BITMAP_BYTES(sparc_run.ram_pages);
	sparc_mailbox_publish();
	return 0;
}

/* ------------------------------------------------ the service */

/* The next request, unless it has been given up meanwhile; 0 if there is none. */
static u32 next_request(void)
{
	u32 asked = 0;

	for (size_t i = 0; i < event_count; i++) {
		if (events[i].type == SPARC_EVENT_PREPARE)
			asked = events[i].sequence;
		if (events[i].type == SPARC_EVENT_ABANDONED && events[i].sequence == asked)
			asked = 0;
	}
	event_count = 0;
	return asked;
}

static bool is_killed(void)
{
	world_point();
	return world_fails();
}

/* Returns false if the service is killed meanwhile. */
static bool answer_request(u32 asked)
{
	struct sparc_fail failure = { .sequence = asked, .reason = SPARC_REASON_FREEZE };
	struct sparc_park request = { .sequence = asked };

	if (is_killed())
		return false;
	world.frozen = true;
	if (is_killed())
		return false;
	if (world_fails())
		sparc_park_fail(&failure);
	else
		sparc_park(&request);
	if (is_killed())
		return false;
	world.frozen = false;
	return true;
}

void guest_service(void)
{
	for (;;) {
		u32 asked;

		world.opener = true;
		do {
			world_wait();
			asked = next_request();
		} while (!asked || answer_request(asked));
		/* What the module does when its device is closed. */
		world.frozen = false;
		world.opener = false;
		sparc_park_orphaned();
		event_count = 0;
		world_wait();
	}
}

bool guest_is_parked(void)
{
	return world.stopped ||
	       SPARC_WORD_WHAT(sparc_mailbox->status.word) == SPARC_STATE_PARKED;
}

bool guest_was_lost(void)
{
	return sparc_mailbox->status.reason == SPARC_REASON_LOST;
}

void guest_boot(void)
{
	event_count = 0;
	sequence = 0;
	preparing = false;
	request_lock.held = false;
	directories = 0;
	max_extents = max_processes = 64;
	park_turns = PARK_TURNS;
	if (sparc_mailbox_make())
		world_wrong("the module does not load");
	sparc_mailbox_members(world.excluded, world.excluded);
	sparc_poll_start();
}
