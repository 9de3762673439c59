// SPDX-License-Identifier: GPL-2.0-or-later
#include "handshake.h"

#include <time.h>

#define POLL_NS		1000000
#define MAILBOXES	8

uint64_t clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void handshake_look(const struct guest_memory *memory, struct park *park)
{
	unsigned int count;

	*park = (struct park){ .outcome = PARK_NO_MODULE };
	count = mailbox_scan(memory, &park->mailbox, 1);
	if (count == 0)
		return;
	if (count > 1)
		park->outcome = PARK_AMBIGUOUS;
	else if (park->mailbox.abi != SPARC_ABI_VERSION)
		park->outcome = PARK_FOREIGN;
	else if (mailbox_status(memory, &park->mailbox, &park->status))
		park->outcome = PARK_NO_MODULE;
	else
		park->outcome = park->status.armed ? PARK_NOT_ASKED : PARK_NOT_ARMED;
}

/* Has it answered? Sets the outcome if so. */
static bool answered(const struct guest_memory *memory, struct park *park)
{
	if (!mailbox_stands(memory, &park->mailbox) ||
	    mailbox_status(memory, &park->mailbox, &park->status))
		return false;
	if (SPARC_WORD_SEQUENCE(park->status.word) != park->sequence)
		return false;
	switch (SPARC_WORD_WHAT(park->status.word)) {
	case SPARC_STATE_PARKED:
		park->outcome = PARK_DONE;
		return true;
	case SPARC_STATE_FAILED:
		park->outcome = PARK_FAILED;
		return true;
	default:
		return false;
	}
}

void handshake_park(const struct guest_memory *memory, struct park *park, unsigned int timeout_ms,
		    bool (*goes_on)(void *context), void *context)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	uint64_t start = clock_us();
	bool there;

	park->outcome = PARK_TIMEOUT;
	if (mailbox_last_sequence(memory, &park->mailbox, &park->sequence))
		return;
	park->sequence++;
	if (mailbox_request(memory, &park->mailbox, park->sequence, SPARC_REQUEST_PREPARE))
		return;
	while (!(there = answered(memory, park)) && goes_on(context) &&
	       clock_us() - start < (uint64_t)timeout_ms * 1000)
		nanosleep(&pause, NULL);
	park->prepare_us = clock_us() - start;
	if (!there && mailbox_stands(memory, &park->mailbox))
		mailbox_request(memory, &park->mailbox, park->sequence, SPARC_REQUEST_ABANDON);
}

void handshake_verify(const struct guest_memory *memory, struct park *park)
{
	if (park->outcome != PARK_DONE)
		return;
	if (!mailbox_stands(memory, &park->mailbox) ||
	    mailbox_status(memory, &park->mailbox, &park->status)) {
		park->outcome = PARK_TIMEOUT;
		return;
	}
	if (park->status.word == SPARC_WORD(park->sequence, SPARC_STATE_PARKED))
		return;
	/* It let go between its answer and the pause. */
	park->outcome = PARK_FAILED;
	if (SPARC_WORD_WHAT(park->status.word) != SPARC_STATE_FAILED)
		park->status.reason = SPARC_REASON_LOST;
}

unsigned int handshake_release(const struct guest_memory *memory)
{
	struct mailbox found[MAILBOXES];
	struct sparc_status status;
	unsigned int count, released = 0;

	count = mailbox_scan(memory, found, MAILBOXES);
	for (unsigned int i = 0; i < count && i < MAILBOXES; i++) {
		if (found[i].abi != SPARC_ABI_VERSION || mailbox_status(memory, &found[i], &status))
			continue;
		if (SPARC_WORD_WHAT(status.word) != SPARC_STATE_PARKED)
			continue;
		if (!mailbox_request(memory, &found[i], SPARC_WORD_SEQUENCE(status.word),
				     SPARC_REQUEST_RESUMED))
			released++;
	}
	return released;
}
