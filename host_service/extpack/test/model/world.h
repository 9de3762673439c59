/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine, its host and what may happen to them, for trying every order of events: three threads
 * of control take turns, and at each point where it matters the turn may change, or something fail.
 */
#ifndef SPARC_MODEL_WORLD_H
#define SPARC_MODEL_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_PAGES	16
#define WORLD_BYTES	(WORLD_PAGES * 4096)
#define SECRET		0x5a	/* what the excluded process has everywhere */
#define SECRET_PAGE	12
#define FREED_PAGE	13	/* free, and still full of it */
#define OTHERS_PAGE	14

struct world {
	uint8_t *ram;
	size_t used;			/* pages given out */
	bool excluded;			/* is there anything to keep out? */
	bool running;			/* the machine's CPUs */
	bool stopped;			/* its other threads, by stop_machine() */
	bool opener;			/* the service has the device open */
	bool frozen;			/* everybody else */
	bool killed;			/* the excluded process */
	bool settling;			/* nothing fails any more, and turns are fair */
	uint64_t clock_ns;
};

extern struct world world;

/* Somebody else may have a turn here. */
void world_point(void);

/* Somebody else has to, if he can. */
void world_wait(void);

/* Does this fail now? */
bool world_fails(void);

/* One of `count`, each in its turn. */
unsigned int world_choose(unsigned int count);

/* Pages of RAM that are nobody's, zero. */
void *world_pages(size_t count);

/* The module's thread; it never returns. */
void world_poller(int (*function)(void *data));

/* The guest: guest.c. */
void guest_boot(void);			/* its module, with all its memory new */
void guest_service(void);		/* the service's thread; it never returns */
bool guest_is_parked(void);
bool guest_was_lost(void);		/* it was parked, and the host never answered */

/* Something is wrong in this order of events. */
__attribute__((noreturn)) void world_wrong(const char *what);

#endif /* SPARC_MODEL_WORLD_H */
