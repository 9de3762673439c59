// SPDX-License-Identifier: GPL-2.0-or-later
#include "slots.h"

#include <link.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEAD		3	/* words: magic, flags, description */
#define MOST_ENTRIES	2048

/* The part of a library that holds the table, and whether it is read-only by now. */
struct region {
	uintptr_t table;
	uintptr_t start, end;
	bool sealed, code;
};

static int find_region(struct dl_phdr_info *info, size_t size, void *user)
{
	struct region *region = user;
	bool here = false;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + part->p_vaddr;

		if (region->table < start || region->table >= start + part->p_memsz)
			continue;
		if (part->p_type == PT_LOAD) {
			region->start = start;
			region->end = start + part->p_memsz;
			region->code = part->p_flags & PF_X;
			here = true;
		} else if (part->p_type == PT_GNU_RELRO) {
			region->sealed = true;
		}
	}
	return here;
}

/* The entry that holds this function, if there is just one. */
static void **find(void **table, size_t entries, const void *function)
{
	void **found = NULL;

	for (size_t i = HEAD; i < entries; i++)
		if (table[i] == function) {
			if (found)
				return NULL;
			found = &table[i];
		}
	return found;
}

/* The table ends with the magic that it begins with. */
static size_t count_entries(void **table, const struct region *region)
{
	size_t most = (region->end - region->table) / sizeof(*table);

	for (size_t i = HEAD; i < most && i < MOST_ENTRIES; i++)
		if (table[i] == table[0])
			return i;
	return 0;
}

static bool set(void **place, void *function, bool sealed)
{
	uintptr_t page = sysconf(_SC_PAGESIZE);
	void *start = (void *)((uintptr_t)place & ~(page - 1));

	if (sealed && mprotect(start, page, PROT_READ | PROT_WRITE))
		return false;
	__atomic_store_n(place, function, __ATOMIC_SEQ_CST);
	if (sealed)
		mprotect(start, page, PROT_READ);
	return true;
}

static bool is_sealed(const void *place)
{
	struct region region = { .table = (uintptr_t)place };

	dl_iterate_phdr(find_region, &region);
	return region.sealed;
}

bool slots_set(void **place, void *function)
{
	return set(place, function, is_sealed(place));
}

void **slots_words(const void *inside, size_t *count)
{
	struct region region = { .table = (uintptr_t)inside };

	if (!dl_iterate_phdr(find_region, &region))
		return NULL;
	region.start = (region.start + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
	*count = (region.end - region.start) / sizeof(void *);
	return (void **)region.start;
}

bool slots_is_code(const void *address)
{
	struct region region = { .table = (uintptr_t)address };

	return dl_iterate_phdr(find_region, &region) && region.code;
}

bool slots_replace(const void *table, struct slot *slots, unsigned int count)
{
	struct region region = { .table = (uintptr_t)table };
	void **entries = (void **)table;
	size_t length;

	if (!dl_iterate_phdr(find_region, &region))
		return false;
	length = count_entries(entries, &region);
	for (unsigned int i = 0; i < count; i++)
		if (!find(entries, length, slots[i].real))
			return false;
	for (unsigned int i = 0; i < count; i++) {
		void **place = find(entries, length, slots[i].real);

		if (!set(place, slots[i].ours, region.sealed)) {
			slots_restore(slots, i);
			return false;
		}
		slots[i].place = place;
	}
	return true;
}

void slots_restore(struct slot *slots, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		if (slots[i].place && *slots[i].place == slots[i].ours)
			slots_set(slots[i].place, slots[i].real);
		slots[i].place = NULL;
	}
}
