/* What the parts of the wanderer share: see wanderer.c. */
#ifndef WANDERER_H
#define WANDERER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096
#define HUGE_PAGE (2 << 20)
#define FOLDER "/run/wander"

/* A marker is four words; each of them alone names its writer. The same in ../markers.py. */
#define MARKER_WORDS 4
#define MARKER_BYTES (8 * MARKER_WORDS)
#define MARKER_TAG 0xa7c35bu
#define MARKER_TAG_MASK 0xffffffu
/* As many processes of a program are told apart. */
#define MOST_PROCESSES 128

/* Who writes: the program; the process in it; on which side of the border. */
extern uint32_t seed;
extern unsigned int number;
extern unsigned int side;

static inline uint64_t mixed(uint64_t z)
{
	z += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint64_t marker_word(unsigned int word)
{
	uint64_t writer = (uint64_t)seed << 16 | side << 12 | number << 4 | word;

	return (mixed(writer) & ~(uint64_t)MARKER_TAG_MASK) | MARKER_TAG;
}

/* Chance: the same for the same seed, process and side. */
unsigned int chance(unsigned int below);
void chance_begin(void);

/* areas.c: memory that is mapped, written, changed and given back */
void mark(char *at);
void areas_step(void);
void areas_touch(void);
void areas_end(void);

/* wanderer.c */
void die(const char *what);

#endif
