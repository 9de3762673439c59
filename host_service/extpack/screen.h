/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Video memory: kept, blanked for a save, and put back after it. */
#ifndef SPARC_SCREEN_H
#define SPARC_SCREEN_H

#include "stash.h"

/* Where a machine's video memory is now. Its memory reaches that, and nothing else. */
struct video {
	struct guest_memory memory;
	uint64_t start;
	uint64_t bytes;		/* whole pages; 0: it cannot be found */
};

/* What is there for the guest to see is not to be saved; on failure, some may be blank. */
enum stash_result screen_blank(struct stash *stash, const struct video *video,
			       enum sparc_display display);

#endif /* SPARC_SCREEN_H */
