/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a device saves of itself, with what the guest's programs left in it blanked.
 *
 * A device hands its state to VirtualBox one value after the other. Their order is fixed for each
 * version of the device's saved state, which VirtualBox itself reads by it, in all its builds.
 * Here they are followed one by one, and changed only where all before were as they should be.
 */
#ifndef SPARC_BLANK_H
#define SPARC_BLANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a device hands over a value. */
enum put {
	PUT_BOOL = 'b',
	PUT_U8 = '1',
	PUT_U16 = '2',
	PUT_U32 = '4',
	PUT_U64 = '8',
	PUT_GCPHYS32 = 'p',
	PUT_IOPORT = 'i',
	PUT_MEM = 'm',
	PUT_TEXT = 't',
	PUT_STRUCT = 's',
};

enum put_fate {
	PUT_KEEP,		/* save the value, which may be another one by now */
	PUT_ZEROS,		/* save as many zeros */
	PUT_DROP,		/* save nothing */
};

#define BLANK_PAST	64	/* values; more than any rule looks back */

struct blank_past {
	enum put put;
	uint64_t value;		/* of memory: its bytes */
};

struct blank_unit;

struct blank {
	const struct blank_unit *unit;
	uint64_t screen;	/* bytes of video memory, if the screen is to be blanked too */
	const char *fault;	/* why something may be left in it, or NULL */
	bool broken;		/* and what was saved of it cannot be read */
	unsigned int blanked;	/* values */
	struct blank_past past[BLANK_PAST];
	unsigned long count;	/* of values so far */
	unsigned int step, left;
	bool dropping, controller, busy;
	uint64_t status;
};

/* Is it a device that holds what the guest's programs left in it? */
bool blank_cares(const char *name);

/* Can that version of its state be blanked? */
bool blank_knows(const char *name, uint32_t version);

void blank_begin(struct blank *blank, const char *name, uint64_t screen);
enum put_fate blank_put(struct blank *blank, enum put put, uint64_t *value);
void blank_end(struct blank *blank);

#endif /* SPARC_BLANK_H */
