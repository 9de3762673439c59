/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one machine of this process. */
#ifndef SPARC_MACHINE_H
#define SPARC_MACHINE_H

#include <pthread.h>

#include "guest.h"
#include "handshake.h"
#include "report.h"

struct machine {
	struct vmm vmm;
	struct guest guest;
	struct vm *vm;
	struct uvm *uvm;
	struct machine_name name;

	bool ready;		/* its memory can be reached, its saves are watched */
	bool saving;		/* from the begin of a save to its report */

	pthread_mutex_t turn;	/* one suspends, resumes or begins a save at a time */
	pthread_mutex_t data;	/* the rest; held for moments only */
	struct park park;	/* what came of the last pause; nothing after a resume */
	char *last;		/* the last report, without its line feed; or NULL */
};

extern struct machine machine;

/* Is it in that state, by VirtualBox's own name of it? */
bool machine_is(const char *state);

/* Keep what came of a pause, or see it. */
void machine_set_park(const struct park *park);
struct park machine_park(void);

/* Keep a report for the status, and hand it on. `state_file` may be NULL. */
void machine_report(const struct checkpoint *checkpoint, const char *state_file);

#endif /* SPARC_MACHINE_H */
