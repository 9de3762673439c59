/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking a running guest to park, and letting it go again. */
#ifndef SPARC_HANDSHAKE_H
#define SPARC_HANDSHAKE_H

#include "mailbox.h"

enum park_outcome {
	PARK_NOT_ASKED = 0,	/* it ran, or was stopped, without this pack's doing */
	PARK_NO_MODULE,
	PARK_NOT_ARMED,		/* nothing was ever excluded in it */
	PARK_POLICY_OFF,
	PARK_AMBIGUOUS,		/* more than one mailbox */
	PARK_FOREIGN,		/* a module of another version of the wire */
	PARK_TIMEOUT,
	PARK_FAILED,		/* the guest said so */
	PARK_DONE,
};

struct park {
	enum park_outcome outcome;
	struct mailbox mailbox;
	uint32_t sequence;
	struct sparc_status status;	/* as last seen */
	uint64_t prepare_us;		/* from the request to the answer */
	uint64_t suspend_us;		/* for the caller to fill in */
};

/* What a machine looks like now, with its mailbox if it has just one. */
void handshake_look(const struct guest_memory *memory, struct park *park);

/*
 * Ask the guest that was looked at to park, and wait, for so long as `goes_on` agrees.
 * After a time-out nobody waits any more, and the guest is told.
 */
void handshake_park(const struct guest_memory *memory, struct park *park, unsigned int timeout_ms,
		    bool (*goes_on)(void *context), void *context);

/* The machine is suspended: does it stand parked as it said? */
void handshake_verify(const struct guest_memory *memory, struct park *park);

/* Tell every parked guest to go on; how many there were. */
unsigned int handshake_release(const struct guest_memory *memory);

/* Microseconds of a clock that only goes forward. */
uint64_t clock_us(void);

#endif /* SPARC_HANDSHAKE_H */
