/*
 * The torture program: a pair of processes, of which one is kept out of checkpoints, puts secrets
 * into everything that a process can leave something in. Its parts are chapters, a file each.
 */
#ifndef TORTURE_H
#define TORTURE_H

#include <stddef.h>

#include "../victim.h"

#define CLASS(id, text) id,
enum class_id {
#include "classes.h"
	CLASSES
};
#undef CLASS

/*
 * A chapter's functions may be NULL. open: both sides are one process still, which will be the
 * one outside; it makes what both are to have. plant: in the one that is excluded; what
 * is freed comes last, by plant_freed, when all chapters have planted. verify: in the one outside,
 * once: after a checkpoint (restored 0: everything that waits for it comes out whole) or in a
 * restored machine (1: the other one is dead; end of file or a reset, but never zeros). A failure
 * is told by broken().
 */
struct chapter {
	const char *name;
	void (*open)(void);
	void (*plant)(void);
	void (*plant_freed)(void);
	void (*verify)(int restored);
};

extern const struct chapter pipes;
extern const struct chapter terminals;
extern const struct chapter files;
extern const struct chapter shared;
extern const struct chapter sockets;
extern const struct chapter rings;
extern const struct chapter kernel;

/* Of open(): this descriptor is for the one outside alone. */
void outsiders_own(int descriptor);
/* The text of a secret, SECRET_LENGTH letters and a NUL, until the next call. */
const char *secret(enum class_id id);
/* Fills memory with copies of it, each followed by a newline. */
void fill_with(char *at, size_t size, enum class_id id);
/* Whether memory is as fill_with() has left it, from `offset` in that on. */
int is_filled_with(const char *at, size_t size, size_t offset, enum class_id id);
/* This kernel has no such thing: noted in FOLDER/unsupported, the class is not planted. */
void unsupported(enum class_id id);
/* Ends the program: this went wrong. */
void broken(const char *what) __attribute__((noreturn));
void broken_unless(int good, const char *what);

#define COPY (SECRET_LENGTH + 1)

#endif
