// SPDX-License-Identifier: GPL-2.0-or-later
#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "log.h"

struct machine machine = {
	.turn = PTHREAD_MUTEX_INITIALIZER,
	.data = PTHREAD_MUTEX_INITIALIZER,
};

bool machine_is(const char *state)
{
	const char *now = machine.vmm.get_state_name(machine.vmm.get_state(machine.uvm));

	return now && !strcmp(now, state);
}

void machine_set_park(const struct park *park)
{
	pthread_mutex_lock(&machine.data);
	machine.park = *park;
	pthread_mutex_unlock(&machine.data);
}

struct park machine_park(void)
{
	struct park park;

	pthread_mutex_lock(&machine.data);
	park = machine.park;
	pthread_mutex_unlock(&machine.data);
	return park;
}

static void log_report(const struct checkpoint *checkpoint)
{
	char message[256];

	report_message(checkpoint, message, sizeof(message));
	log_line("checkpoint %s, %s: %s (%s)", checkpoint->saved ? "saved" : "not saved",
		 checkpoint_clean(checkpoint) ? "clean" : "NOT CLEAN", message,
		 reason_word(checkpoint->reason));
	if (checkpoint->not_put_back)
		log_line("%zu PIECES OF GUEST MEMORY COULD NOT BE PUT BACK", checkpoint->not_put_back);
	if (checkpoint->reason == REASON_OK && !checkpoint->stash_locked)
		log_line("RLIMIT_MEMLOCK is too small: what was kept out could have been swapped");
}

void machine_report(const struct checkpoint *checkpoint, const char *state_file)
{
	char *text = report_text(checkpoint, &machine.name, state_file, time(NULL));

	log_report(checkpoint);
	if (!text) {
		log_line("no memory for a report");
		return;
	}
	if (state_file && deliver_to_file(text, state_file))
		log_line("cannot write the report beside the state file");
	deliver_to_service(text);
	text[strcspn(text, "\n")] = '\0';
	pthread_mutex_lock(&machine.data);
	free(machine.last);
	machine.last = text;
	pthread_mutex_unlock(&machine.data);
}
