// SPDX-License-Identifier: GPL-2.0-or-later
#include "checkpoint.h"

#include <string.h>

bool checkpoint_clean(const struct checkpoint *checkpoint)
{
	return checkpoint->prepared && (checkpoint->reason == REASON_OK ||
					checkpoint->reason == REASON_NOTHING_EXCLUDED);
}

/* What the pause came to, for one that did not end with the guest parked until now. */
static enum checkpoint_reason why_not_parked(enum park_outcome outcome)
{
	switch (outcome) {
	case PARK_TIMEOUT:
		return REASON_TIMEOUT;
	case PARK_FAILED:
	case PARK_DONE:
		return REASON_GUEST_FAILED;
	default:
		return REASON_NOT_ASKED;
	}
}

static bool was_asked(const struct park *park)
{
	return park->outcome == PARK_TIMEOUT || park->outcome == PARK_FAILED ||
	       park->outcome == PARK_DONE;
}

/*
 * Does the machine stand parked now? A guest that nobody asked can: when it was restored and
 * has not run yet. One that was told that nobody waits any more is not believed.
 */
static enum checkpoint_reason judge(struct checkpoint *checkpoint, const struct park *now)
{
	struct park *park = &checkpoint->park;
	uint64_t word = now->status.word;

	switch (now->outcome) {
	case PARK_NO_MODULE:
	case PARK_NOT_ARMED:
		/* It had something to keep out a moment ago. */
		if (was_asked(park))
			return why_not_parked(park->outcome);
		return now->outcome == PARK_NO_MODULE ? REASON_NO_MODULE : REASON_NOTHING_EXCLUDED;
	case PARK_AMBIGUOUS:
		return REASON_AMBIGUOUS;
	case PARK_FOREIGN:
		return REASON_BAD_MANIFEST;
	default:
		break;
	}
	if (checkpoint->policy.mode == POLICY_OFF)
		return REASON_POLICY_OFF;
	/* Memory that was written while the guest ran cannot be taken back. */
	if (checkpoint->streamed)
		return REASON_NOT_ASKED;
	if (park->outcome != PARK_DONE && park->outcome != PARK_NOT_ASKED)
		return why_not_parked(park->outcome);
	if (SPARC_WORD_WHAT(word) != SPARC_STATE_PARKED)
		return why_not_parked(park->outcome);
	if (park->outcome == PARK_DONE && (park->sequence != SPARC_WORD_SEQUENCE(word) ||
					   park->mailbox.instance != now->mailbox.instance))
		return REASON_GUEST_FAILED;
	return REASON_OK;
}

static enum checkpoint_reason blank_screen(struct checkpoint *checkpoint, const struct video *video)
{
	enum stash_result result;

	if (checkpoint->manifest.head.display == SPARC_DISPLAY_KEEP)
		return REASON_OK;
	checkpoint->video = video;
	result = screen_blank(&checkpoint->screen, video, checkpoint->manifest.head.display);
	checkpoint->screen_bytes = checkpoint->screen.used;
	checkpoint->stash_locked &= checkpoint->screen.locked;
	if (result == STASH_NO_MEMORY)
		return REASON_NO_MEMORY;
	if (result == STASH_DONE)
		return REASON_OK;
	checkpoint->fault = video->bytes ? "VirtualBox did not let it be changed" :
					   "its memory was not found";
	return REASON_SCREEN;
}

static enum checkpoint_reason take_out(struct checkpoint *checkpoint,
				       const struct guest_memory *memory,
				       const struct video *video, const struct park *now)
{
	enum checkpoint_reason reason;
	uint64_t start = clock_us();
	enum stash_result result;

	switch (manifest_read(&checkpoint->manifest, memory, &now->mailbox,
			      SPARC_WORD_SEQUENCE(now->status.word))) {
	case MANIFEST_GOOD:
		break;
	case MANIFEST_NO_MEMORY:
		return REASON_NO_MEMORY;
	default:
		return REASON_BAD_MANIFEST;
	}
	result = stash_take(&checkpoint->stash, &checkpoint->manifest, memory);
	checkpoint->stash_bytes = checkpoint->stash.used;
	checkpoint->stash_locked = checkpoint->stash.locked;
	checkpoint->stash_us = clock_us() - start;
	if (result == STASH_DONE) {
		start = clock_us();
		result = stash_zero(&checkpoint->stash, &checkpoint->manifest, memory);
		checkpoint->zero_us = clock_us() - start;
	} else {
		/* Nothing was zeroed yet. */
		stash_wipe(&checkpoint->stash);
	}
	if (result == STASH_DONE)
		reason = blank_screen(checkpoint, video);
	else
		reason = result == STASH_NO_MEMORY ? REASON_NO_MEMORY : REASON_INTERNAL;
	if (reason != REASON_OK)
		checkpoint_finish(checkpoint, memory);
	return reason;
}

bool checkpoint_spoil(struct checkpoint *checkpoint, const struct guest_memory *memory,
		      enum checkpoint_reason reason, const char *fault)
{
	checkpoint->reason = reason;
	checkpoint->fault = fault;
	checkpoint->refused = checkpoint->policy.mode == POLICY_STRICT;
	if (checkpoint->refused)
		checkpoint_finish(checkpoint, memory);
	return !checkpoint->refused;
}

bool checkpoint_prepare(struct checkpoint *checkpoint, const struct guest_memory *memory,
			const struct video *video)
{
	struct park now;

	handshake_look(memory, &now);
	checkpoint->reason = judge(checkpoint, &now);
	if (checkpoint->reason == REASON_OK)
		checkpoint->reason = take_out(checkpoint, memory, video, &now);
	checkpoint->took_out = checkpoint->reason == REASON_OK;
	checkpoint->prepared = true;
	checkpoint->write_began_us = clock_us();
	switch (checkpoint->reason) {
	case REASON_OK:
	case REASON_NOTHING_EXCLUDED:
	case REASON_NO_MODULE:
	case REASON_POLICY_OFF:
		break;
	default:
		/* Nor is one saved that would be neither clean nor whole. */
		checkpoint->refused = checkpoint->policy.mode == POLICY_STRICT ||
				      checkpoint->not_put_back;
	}
	return !checkpoint->refused;
}

void checkpoint_finish(struct checkpoint *checkpoint, const struct guest_memory *memory)
{
	uint64_t start = clock_us();

	if (checkpoint->write_began_us && !checkpoint->write_us)
		checkpoint->write_us = start - checkpoint->write_began_us;
	if (!checkpoint->stash.pieces && !checkpoint->screen.pieces)
		return;
	checkpoint->not_put_back = stash_put_back(&checkpoint->stash, memory);
	if (checkpoint->screen.pieces)
		checkpoint->not_put_back += stash_put_back(&checkpoint->screen,
							   &checkpoint->video->memory);
	checkpoint->put_back_us = clock_us() - start;
}

void checkpoint_free(struct checkpoint *checkpoint)
{
	stash_wipe(&checkpoint->stash);
	stash_wipe(&checkpoint->screen);
	manifest_free(&checkpoint->manifest);
	memset(checkpoint, 0, sizeof(*checkpoint));
}
