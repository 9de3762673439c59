// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * count RAM STASH DROP ZERO, each in pages: takes out, zeroes and puts back the memory of a guest in
 * which so many pages are to be put back, so many dropped, and so many more dropped that are zero
 * already. Prints as one JSON object how often guest memory was read and written. What it costs in
 * instructions is the difference between two runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stash.h"

static unsigned long reads, writes;

static bool is_ram(void *context, uint64_t page)
{
	(void)context;
	(void)page;
	return true;
}

static int read_it(void *ram, uint64_t gpa, void *to, size_t bytes)
{
	reads++;
	memcpy(to, (uint8_t *)ram + gpa, bytes);
	return 0;
}

static int write_it(void *ram, uint64_t gpa, const void *from, size_t bytes)
{
	writes++;
	memcpy((uint8_t *)ram + gpa, from, bytes);
	return 0;
}

static void *zeros(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		exit(1);
	return memory;
}

static const uint8_t *bitmap(uint64_t pages, uint64_t first, uint64_t count)
{
	uint8_t *bits = zeros(SPARC_BITMAP_BYTES(pages));

	for (uint64_t frame = first; frame < first + count; frame++)
		bits[frame / 8] |= 1 << frame % 8;
	return bits;
}

int main(int count, char **words)
{
	uint64_t number[4] = {};
	struct manifest manifest = {};
	struct guest_memory memory = { .is_ram = is_ram, .read = read_it, .write = write_it };
	struct stash stash;
	uint8_t *ram;

	if (count != 5)
		return 2;
	for (int i = 0; i < 4; i++)
		number[i] = strtoull(words[i + 1], NULL, 10);
	memory.end = number[0] * PAGE;
	memory.context = ram = zeros(memory.end);
	for (uint64_t frame = 0; frame < number[1] + number[2]; frame++)
		ram[frame * PAGE + PAGE - 1] = 1;
	manifest.head.ram_pages = number[0];
	manifest.head.stash_pages = number[1];
	manifest.stash = bitmap(number[0], 0, number[1]);
	manifest.drop = bitmap(number[0], number[1], number[2] + number[3]);
	if (stash_take(&stash, &manifest, &memory) || stash_zero(&stash, &manifest, &memory) ||
	    stash_put_back(&stash, &memory))
		return 1;
	printf("{\"reads\": %lu, \"writes\": %lu}\n", reads, writes);
	return 0;
}
