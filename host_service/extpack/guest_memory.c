// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest_memory.h"

bool guest_holds(const struct guest_memory *memory, uint64_t gpa, size_t bytes)
{
	uint64_t offset = gpa % PAGE;

	return bytes > 0 && bytes <= PAGE - offset && gpa < memory->end &&
	       memory->is_ram(memory->context, gpa - offset);
}

int guest_read(const struct guest_memory *memory, uint64_t gpa, void *to, size_t bytes)
{
	if (!guest_holds(memory, gpa, bytes))
		return -1;
	return memory->read(memory->context, gpa, to, bytes) < 0 ? -1 : 0;
}

int guest_write(const struct guest_memory *memory, uint64_t gpa, const void *from, size_t bytes)
{
	if (!guest_holds(memory, gpa, bytes))
		return -1;
	return memory->write(memory->context, gpa, from, bytes) < 0 ? -1 : 0;
}

int guest_load(const struct guest_memory *memory, uint64_t gpa, uint64_t *word)
{
	if (gpa % sizeof(*word) || !guest_holds(memory, gpa, sizeof(*word)))
		return -1;
	return memory->load(memory->context, gpa, word) < 0 ? -1 : 0;
}

int guest_store(const struct guest_memory *memory, uint64_t gpa, uint64_t word)
{
	if (gpa % sizeof(word) || !guest_holds(memory, gpa, sizeof(word)))
		return -1;
	return memory->store(memory->context, gpa, word) < 0 ? -1 : 0;
}
