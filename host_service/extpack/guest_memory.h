/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's RAM, through whoever can reach it. The functions below check every
 * address and length before they hand it on.
 */
#ifndef SPARC_GUEST_MEMORY_H
#define SPARC_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE		4096u
#define PAGE_SHIFT	12

struct guest_memory {
	void *context;
	uint64_t end;	/* the first address above all RAM; there may be holes below */
	/* Those of the second kind stay within one page; 0, or negative on failure. */
	bool (*is_ram)(void *context, uint64_t page);
	int (*read)(void *context, uint64_t gpa, void *to, size_t bytes);
	int (*write)(void *context, uint64_t gpa, const void *from, size_t bytes);
	int (*load)(void *context, uint64_t gpa, uint64_t *word);
	int (*store)(void *context, uint64_t gpa, uint64_t word);
};

/* Is it RAM from the first to the last of so many bytes, all in one page? */
bool guest_holds(const struct guest_memory *memory, uint64_t gpa, size_t bytes);

/* Within one page. 0, or -1 if that is not RAM or VirtualBox fails. */
int guest_read(const struct guest_memory *memory, uint64_t gpa, void *to, size_t bytes);
int guest_write(const struct guest_memory *memory, uint64_t gpa, const void *from, size_t bytes);

/* An aligned word that the guest may look at, or change, at the same time. */
int guest_load(const struct guest_memory *memory, uint64_t gpa, uint64_t *word);
int guest_store(const struct guest_memory *memory, uint64_t gpa, uint64_t word);

#endif /* SPARC_GUEST_MEMORY_H */
