/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page through which the guest's module and the host talk. */
#ifndef SPARC_MAILBOX_H
#define SPARC_MAILBOX_H

#include "../../kmod/sparc_abi.h"
#include "guest_memory.h"

struct mailbox {
	uint64_t gpa;
	uint64_t instance;
	uint32_t abi;
};

/*
 * Look through the part of RAM where mailboxes may be. Returns how many there are;
 * up to `room` of them are put into `found`.
 */
unsigned int mailbox_scan(const struct guest_memory *memory, struct mailbox *found,
			  unsigned int room);

/* Is it still there, the same one? */
bool mailbox_stands(const struct guest_memory *memory, const struct mailbox *mailbox);

/*
 * What the guest says of itself. While it runs, the word and what goes with it may
 * change at any time: they are read until they fit. 0, or -1.
 */
int mailbox_status(const struct guest_memory *memory, const struct mailbox *mailbox,
		   struct sparc_status *status);

/* Put a request; the guest never sees half of it. 0, or -1. */
int mailbox_request(const struct guest_memory *memory, const struct mailbox *mailbox,
		    uint32_t sequence, enum sparc_request what);

/* The sequence of the last request, whoever made it. 0, or -1. */
int mailbox_last_sequence(const struct guest_memory *memory, const struct mailbox *mailbox,
			  uint32_t *sequence);

#endif /* SPARC_MAILBOX_H */
