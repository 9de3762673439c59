// SPDX-License-Identifier: GPL-2.0-or-later
#include "stash.h"

#include <string.h>
#include <sys/mman.h>

static const uint8_t zeros[PAGE];

static bool all_zero(const uint8_t *bytes, size_t count)
{
	return memcmp(bytes, zeros, count) == 0;
}

static void *reserve(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int stash_open(struct stash *stash, uint64_t bytes, uint64_t pieces)
{
	memset(stash, 0, sizeof(*stash));
	stash->bytes_room = SPARC_ALIGN(bytes);
	stash->pieces_room = SPARC_ALIGN(pieces * sizeof(struct stash_piece));
	stash->bytes = reserve(stash->bytes_room);
	stash->pieces = reserve(stash->pieces_room);
	if (!stash->bytes || !stash->pieces)
		return -1;
	/* Neither into a core dump nor into a child. */
	if (madvise(stash->bytes, stash->bytes_room, MADV_DONTDUMP) ||
	    madvise(stash->bytes, stash->bytes_room, MADV_DONTFORK))
		return -1;
	stash->locked = mlock2(stash->bytes, stash->bytes_room, MLOCK_ONFAULT) == 0;
	return 0;
}

int stash_add(struct stash *stash, const struct guest_memory *memory, uint64_t gpa, size_t bytes)
{
	uint8_t *to = stash->bytes + stash->used;

	if (bytes > stash->bytes_room - stash->used || guest_read(memory, gpa, to, bytes))
		return -1;
	if (all_zero(to, bytes))
		return 0;
	stash->pieces[stash->count++] = (struct stash_piece){ gpa, bytes, false };
	stash->used += bytes;
	return 0;
}

enum stash_result stash_take(struct stash *stash, const struct manifest *manifest,
			     const struct guest_memory *memory)
{
	uint64_t frame;

	if (stash_open(stash, manifest->head.stash_pages * PAGE + manifest->extent_bytes,
		       manifest->head.stash_pages + manifest->head.extents))
		return STASH_NO_MEMORY;
	manifest_for_each(frame, manifest->stash, manifest->head.ram_pages)
		if (stash_add(stash, memory, frame << PAGE_SHIFT, PAGE))
			return STASH_FAILED;
	for (uint32_t i = 0; i < manifest->head.extents; i++)
		if (stash_add(stash, memory, manifest->extents[i].gpa, manifest->extents[i].length))
			return STASH_FAILED;
	return STASH_DONE;
}

/* Pages that are zero are not written: VirtualBox may have no memory behind them yet. */
static enum stash_result drop(const struct manifest *manifest, const struct guest_memory *memory,
			      uint8_t *now)
{
	uint64_t frame;

	manifest_for_each(frame, manifest->drop, manifest->head.ram_pages) {
		uint64_t gpa = frame << PAGE_SHIFT;

		if (guest_read(memory, gpa, now, PAGE))
			return STASH_FAILED;
		if (!all_zero(now, PAGE) && guest_write(memory, gpa, zeros, PAGE))
			return STASH_FAILED;
	}
	return STASH_DONE;
}

enum stash_result stash_zero(const struct stash *stash, const struct manifest *manifest,
			     const struct guest_memory *memory)
{
	enum stash_result result;
	uint8_t now[PAGE];

	for (size_t i = 0; i < stash->count; i++)
		if (guest_write(memory, stash->pieces[i].gpa, zeros, stash->pieces[i].bytes))
			return STASH_FAILED;
	result = drop(manifest, memory, now);
	explicit_bzero(now, sizeof(now));
	return result;
}

size_t stash_put_back(struct stash *stash, const struct guest_memory *memory)
{
	const uint8_t *from = stash->bytes;
	size_t failed = 0;

	for (size_t i = 0; i < stash->count; i++) {
		struct stash_piece *piece = &stash->pieces[i];

		if (piece->back)
			;
		else if (guest_write(memory, piece->gpa, from, piece->bytes))
			failed++;
		else
			piece->back = true;
		from += piece->bytes;
	}
	if (!failed)
		stash_wipe(stash);
	return failed;
}

void stash_wipe(struct stash *stash)
{
	if (stash->bytes) {
		/* One piece more may have been read than is kept. */
		size_t dirty = stash->used + PAGE;

		explicit_bzero(stash->bytes, dirty < stash->bytes_room ? dirty : stash->bytes_room);
		munmap(stash->bytes, stash->bytes_room);
	}
	if (stash->pieces)
		munmap(stash->pieces, stash->pieces_room);
	memset(stash, 0, sizeof(*stash));
}
