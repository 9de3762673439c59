/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest's RAM in an array, for tests: whoever leaves it, or its holes, ends the program. */
#ifndef SPARC_SIMULATED_H
#define SPARC_SIMULATED_H

#include "mailbox.h"

struct simulated {
	struct guest_memory memory;
	uint8_t *ram;
	bool *hole;		/* by page */
	bool *written;		/* by byte: the host has written there */
	uint64_t pages;
	uint64_t left;		/* accesses up to one that fails */
	void (*on_read)(struct simulated *simulated);
};

void simulated_open(struct simulated *simulated, uint64_t pages);
void simulated_close(struct simulated *simulated);

/* The mailbox at that address, as the guest has it. */
struct sparc_mailbox *simulated_mailbox(struct simulated *simulated, uint64_t gpa);

/* Make a page a valid, armed mailbox. */
struct sparc_mailbox *simulated_identify(struct simulated *simulated, uint64_t gpa,
					 uint64_t instance);

#endif /* SPARC_SIMULATED_H */
