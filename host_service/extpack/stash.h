/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is taken out of a guest's memory for a save, in memory that goes nowhere else. */
#ifndef SPARC_STASH_H
#define SPARC_STASH_H

#include "manifest.h"

struct stash_piece {
	uint64_t gpa;
	uint32_t bytes;
	bool back;			/* in the guest again */
};

struct stash {
	struct stash_piece *pieces;	/* in the order of their bytes */
	size_t count, pieces_room;
	uint8_t *bytes;
	size_t used, bytes_room;
	bool locked;			/* no part of it can be swapped out */
};

enum stash_result {
	STASH_DONE = 0,
	STASH_NO_MEMORY,
	STASH_FAILED,
};

/* Room for so much at most; only what is used becomes real. 0, or -1. */
int stash_open(struct stash *stash, uint64_t bytes, uint64_t pieces);

/* Keep a copy of one piece, within a page; nothing is kept of one that is zero. 0, or -1. */
int stash_add(struct stash *stash, const struct guest_memory *memory, uint64_t gpa, size_t bytes);

/* Keep a copy of all that the manifest wants put back; nothing in the guest changes. */
enum stash_result stash_take(struct stash *stash, const struct manifest *manifest,
			     const struct guest_memory *memory);

/*
 * Zero all that was taken, and all that the manifest wants dropped. On failure, some of it may be
 * zero.
 */
enum stash_result stash_zero(const struct stash *stash, const struct manifest *manifest,
			     const struct guest_memory *memory);

/*
 * Put back what was taken, and forget it. Returns how many pieces VirtualBox did not let
 * through: they are still in the stash, to be tried again; all others are back.
 */
size_t stash_put_back(struct stash *stash, const struct guest_memory *memory);

/* Wipe and give back the memory. What was not put back is lost. */
void stash_wipe(struct stash *stash);

#endif /* SPARC_STASH_H */
