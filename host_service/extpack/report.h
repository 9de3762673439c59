/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is told of a save, and of a machine's state, as JSON. */
#ifndef SPARC_REPORT_H
#define SPARC_REPORT_H

#include <time.h>

#include "checkpoint.h"

#define UUID_TEXT	37

struct machine_name {
	const char *name;
	char uuid[UUID_TEXT];
};

/* One line, for the caller to free; or NULL. `state_file` may be NULL. */
char *report_text(const struct checkpoint *checkpoint, const struct machine_name *machine,
		  const char *state_file, time_t when);

/* The same of a machine that runs; `last` is its last report, or NULL. */
char *status_text(const struct park *now, const struct policy *policy,
		  const struct machine_name *machine, const char *last);

/* One sentence for the user. */
const char *report_message(const struct checkpoint *checkpoint, char *buffer, size_t room);

const char *policy_word(enum policy_mode mode);
const char *reason_word(enum checkpoint_reason reason);

#endif /* SPARC_REPORT_H */
