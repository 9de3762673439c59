/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One save of a machine's state, from its beginning to its report. */
#ifndef SPARC_CHECKPOINT_H
#define SPARC_CHECKPOINT_H

#include "handshake.h"
#include "manifest.h"
#include "screen.h"
#include "stash.h"

enum policy_mode {
	POLICY_STRICT = 0,
	POLICY_WARN,
	POLICY_OFF,
};

struct policy {
	enum policy_mode mode;
	unsigned int timeout_ms;
};

enum checkpoint_reason {
	REASON_OK = 0,
	REASON_NOTHING_EXCLUDED,
	REASON_NO_MODULE,
	REASON_NOT_ASKED,
	REASON_TIMEOUT,
	REASON_GUEST_FAILED,
	REASON_BAD_MANIFEST,
	REASON_AMBIGUOUS,
	REASON_POLICY_OFF,
	REASON_NO_MEMORY,
	REASON_SCREEN,
	REASON_DEVICES,
	REASON_TELEPORT,
	REASON_INTERNAL,
};

struct checkpoint {
	bool live;			/* it was asked for while the machine ran */
	bool streamed;			/* and its memory was written meanwhile */
	struct policy policy;
	struct park park;		/* what came of the last pause */
	enum checkpoint_reason reason;
	bool refused;			/* by the policy */
	bool prepared;			/* the guest's memory has been looked through */
	bool took_out;			/* and is without what is excluded */
	bool saved;
	size_t not_put_back;		/* pieces */
	struct manifest manifest;
	struct stash stash;
	struct stash screen;
	const struct video *video;	/* where that goes back to */
	const char *fault;		/* with REASON_SCREEN and REASON_DEVICES: what is wrong */
	uint64_t stash_bytes, screen_bytes;
	bool stash_locked;
	unsigned int devices_blanked;	/* values that devices save */
	uint64_t stash_us, zero_us, write_us, put_back_us;
	uint64_t write_began_us;
};

/*
 * The machine stands still and its memory is about to be written: take out what does not
 * belong there. Returns false if the save must not go on.
 */
bool checkpoint_prepare(struct checkpoint *checkpoint, const struct guest_memory *memory,
			const struct video *video);

/*
 * Something will be, or was, saved that does not belong there. Returns false if the save must
 * not go on; all is put back by then.
 */
bool checkpoint_spoil(struct checkpoint *checkpoint, const struct guest_memory *memory,
		      enum checkpoint_reason reason, const char *fault);

/* It has been written, or not: put everything back. May be called more than once. */
void checkpoint_finish(struct checkpoint *checkpoint, const struct guest_memory *memory);

void checkpoint_free(struct checkpoint *checkpoint);

/* Does the file hold nothing of the excluded programs? */
bool checkpoint_clean(const struct checkpoint *checkpoint);

#endif /* SPARC_CHECKPOINT_H */
