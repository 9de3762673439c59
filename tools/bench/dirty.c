/*
 * dirty MEGABYTES: fills so much memory with what cannot be compressed, no page like another,
 * writes /run/dirty with its pid, and rests until it is killed.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define PAGE 4096UL
#define POOL (1UL << 20)
/* Coprime to the pool's size: a page begins where none did before. */
#define STRIDE 4099UL

/* Where instructions are interpreted this is one for a whole page. */
static void copy_page(char *to, const char *from)
{
	size_t words = PAGE / 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

/* Marsaglia's xorshift: the kernel's random bytes would take seconds. */
static void fill_pool(uint64_t *pool)
{
	uint64_t state;

	if (getrandom(&state, sizeof(state), 0) != sizeof(state))
		exit(1);
	state |= 1;
	for (size_t at = 0; at < (POOL + PAGE) / sizeof(state); at++) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		pool[at] = state;
	}
}

int main(int count, char **words)
{
	size_t bytes = count > 1 ? strtoul(words[1], NULL, 10) << 20 : 0;
	char *pool = malloc(POOL + PAGE);
	char *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	FILE *told;

	if (!bytes || !pool || area == MAP_FAILED)
		return 1;
	madvise(area, bytes, MADV_HUGEPAGE);
	/* All at once: each fault by itself takes longer than the page. */
	madvise(area, bytes, MADV_POPULATE_WRITE);
	fill_pool((uint64_t *)pool);
	for (size_t page = 0; page < bytes / PAGE; page++) {
		copy_page(area + page * PAGE, pool + page * STRIDE % POOL);
		*(size_t *)(area + page * PAGE) = page;
	}
	told = fopen("/run/dirty", "w");
	if (!told || fprintf(told, "%d\n", getpid()) < 0 || fclose(told))
		return 1;
	for (;;)
		pause();
}
