// SPDX-License-Identifier: GPL-2.0-or-later
#include "screen.h"

#include <string.h>

/*
 * In text mode, the first of these bytes are four planes, byte by byte in turn: characters,
 * their attributes, fonts, and nothing. All above is left from another mode.
 */
#define TEXT_BYTES	(256u << 10)
#define PLANES		4
#define WRITTEN_PLANES	2

static void clear(uint8_t *page, uint64_t at, enum sparc_display display)
{
	if (display != SPARC_DISPLAY_TEXT || at >= TEXT_BYTES) {
		memset(page, 0, PAGE);
		return;
	}
	for (unsigned int i = 0; i < PAGE; i++)
		if (i % PLANES < WRITTEN_PLANES)
			page[i] = 0;
}

/* Video memory may have a mind of its own: what was written is looked at. */
static int blank_page(const struct video *video, uint64_t at, enum sparc_display display)
{
	uint8_t now[PAGE], wanted[PAGE];
	uint64_t gpa = video->start + at;
	int failed = guest_read(&video->memory, gpa, now, PAGE);

	memcpy(wanted, now, PAGE);
	clear(wanted, at, display);
	if (!failed && memcmp(now, wanted, PAGE)) {
		failed = guest_write(&video->memory, gpa, wanted, PAGE);
		if (!failed)
			failed = guest_read(&video->memory, gpa, now, PAGE);
		if (!failed && memcmp(now, wanted, PAGE))
			failed = -1;
	}
	explicit_bzero(now, PAGE);
	return failed;
}

enum stash_result screen_blank(struct stash *stash, const struct video *video,
			       enum sparc_display display)
{
	if (!video->bytes)
		return STASH_FAILED;
	if (stash_open(stash, video->bytes, video->bytes / PAGE))
		return STASH_NO_MEMORY;
	for (uint64_t at = 0; at < video->bytes; at += PAGE)
		if (stash_add(stash, &video->memory, video->start + at, PAGE))
			return STASH_FAILED;
	for (uint64_t at = 0; at < video->bytes; at += PAGE)
		if (blank_page(video, at, display))
			return STASH_FAILED;
	return STASH_DONE;
}
