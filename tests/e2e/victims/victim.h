/* What the victim programs share: secrets made from a seed, and signs of life. */
#ifndef VICTIM_H
#define VICTIM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET_LENGTH 24
#define FOLDER "/run/victims"

/* splitmix64: the same in programs.py, so that no secret passes between host and guest. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Writes secret number `number`: letters, without a NUL. */
static inline void write_secret(char *at, uint64_t seed, unsigned int number)
{
	uint64_t state = seed + number * 0x100000001b3u;

	for (int i = 0; i < SECRET_LENGTH; i++)
		at[i] = 'a' + next_random(&state) % 26;
}

static inline int is_secret(const char *at, uint64_t seed, unsigned int number)
{
	uint64_t state = seed + number * 0x100000001b3u;

	for (int i = 0; i < SECRET_LENGTH; i++)
		if (at[i] != (char)('a' + next_random(&state) % 26))
			return 0;
	return 1;
}

static inline void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Replaces FOLDER/name: "ok COUNT" or "bad WHAT". */
static inline void tell(const char *name, const char *word, uint64_t count)
{
	char path[64], fresh[72], text[64];
	FILE *file;

	snprintf(path, sizeof(path), FOLDER "/%s", name);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	snprintf(text, sizeof(text), "%s %llu\n", word, (unsigned long long)count);
	file = fopen(fresh, "w");
	if (!file || fputs(text, file) < 0 || fclose(file) || rename(fresh, path))
		die(path);
}

static inline void fail(const char *name, const char *what)
{
	tell(name, "bad", 0);
	fprintf(stderr, "%s: %s\n", name, what);
	exit(1);
}

#endif
