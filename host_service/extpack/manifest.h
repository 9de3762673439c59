/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a parked guest says belongs to its excluded programs: read once, then checked. */
#ifndef SPARC_MANIFEST_H
#define SPARC_MANIFEST_H

#include <string.h>

#include "mailbox.h"

enum manifest_result {
	MANIFEST_GOOD = 0,
	MANIFEST_BAD,
	MANIFEST_NO_MEMORY,
};

struct manifest {
	struct sparc_manifest head;
	const uint8_t *drop;		/* bitmaps of head.ram_pages bits */
	const uint8_t *stash;
	const struct sparc_extent *extents;
	const struct sparc_process *processes;
	uint64_t extent_bytes;		/* of all extents */
	void *run;			/* the host's copy that these lie in */
	const char *fault;		/* what is wrong with it, if it is BAD */
};

/*
 * Copy the manifest that answers `sequence` and check all of it. Free it in every case;
 * only if the result is MANIFEST_GOOD may it be used.
 */
enum manifest_result manifest_read(struct manifest *manifest, const struct guest_memory *memory,
				   const struct mailbox *mailbox, uint32_t sequence);
void manifest_free(struct manifest *manifest);

/* Is the page frame, one below head.ram_pages, in the bitmap? */
static inline bool manifest_bit(const uint8_t *bitmap, uint64_t frame)
{
	return bitmap[frame / 8] >> frame % 8 & 1;
}

/* The first page frame in the bitmap, of `pages` bits, that is not below this one; or `pages`. */
static inline uint64_t manifest_next(const uint8_t *bitmap, uint64_t frame, uint64_t pages)
{
	while (frame < pages) {
		uint64_t word;

		memcpy(&word, bitmap + frame / 64 * 8, sizeof(word));
		word >>= frame % 64;
		if (word)
			return frame + (uint64_t)__builtin_ctzll(word);
		frame = (frame / 64 + 1) * 64;
	}
	return pages;
}

/* Each page frame in a bitmap of so many bits, in turn. */
#define manifest_for_each(frame, bitmap, pages) \
	for (frame = manifest_next(bitmap, 0, pages); frame < (pages); \
	     frame = manifest_next(bitmap, frame + 1, pages))

#endif /* SPARC_MANIFEST_H */
