/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries of VirtualBox's function table, replaced and put back. */
#ifndef SPARC_SLOTS_H
#define SPARC_SLOTS_H

#include <stdbool.h>
#include <stddef.h>

struct slot {
	void *real;		/* the function that the table names */
	void *ours;		/* the one to name instead */
	void **place;		/* where; NULL while it is not replaced */
};

/* Replace all of them, or none if one is not there just once. */
bool slots_replace(const void *table, struct slot *slots, unsigned int count);
void slots_restore(struct slot *slots, unsigned int count);

/* One entry, wherever it is. */
bool slots_set(void **place, void *function);

/* All words of the part of a library that `inside` lies in, which holds its tables; or NULL. */
void **slots_words(const void *inside, size_t *count);

/* Is it in a part of a library that is executed? */
bool slots_is_code(const void *address);

#endif /* SPARC_SLOTS_H */
