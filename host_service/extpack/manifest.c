// SPDX-License-Identifier: GPL-2.0-or-later
#include "manifest.h"

#include <stdlib.h>
#include <string.h>

#include "crc32.h"

/* More than a module makes room for; so that a lie costs the host little. */
#define MOST_EXTENTS	(1u << 22)
#define MOST_PROCESSES	(1u << 20)

static enum manifest_result bad(struct manifest *manifest, const char *fault)
{
	manifest->fault = fault;
	return MANIFEST_BAD;
}

/* Where the parts begin in the run; the numbers they follow from are bounded already. */
static uint64_t extents_at(const struct sparc_manifest *head)
{
	return 2 * SPARC_BITMAP_BYTES(head->ram_pages);
}

static uint64_t processes_at(const struct sparc_manifest *head)
{
	return extents_at(head) + SPARC_ALIGN((uint64_t)head->extents * sizeof(struct sparc_extent));
}

static const char *check_head(const struct sparc_mailbox *copy, const struct guest_memory *memory,
			      uint32_t sequence)
{
	const struct sparc_manifest *head = &copy->manifest;
	uint32_t crc;

	if (head->directories < 1 || head->directories > SPARC_DIRECTORIES)
		return "the number of directories";
	crc = crc32_update(0, head, offsetof(struct sparc_manifest, crc));
	crc = crc32_update(crc, copy->directory, head->directories * sizeof(copy->directory[0]));
	if (crc != head->crc)
		return "the checksum of the header";
	if (head->sequence != sequence)
		return "the sequence";
	if (head->display > SPARC_DISPLAY_ALL)
		return "what is asked of the display";
	if (head->reserved2)
		return "a reserved field";
	if (!head->ram_pages || head->ram_pages > memory->end >> PAGE_SHIFT)
		return "the amount of memory";
	if (head->extents > MOST_EXTENTS || head->processes > MOST_PROCESSES)
		return "the number of extents or processes";
	if (head->run_bytes != processes_at(head) +
			       (uint64_t)head->processes * sizeof(struct sparc_process))
		return "the length";
	if (head->run_bytes > (uint64_t)head->directories * SPARC_DIRECTORY_ENTRIES * PAGE)
		return "more than its directories hold";
	return NULL;
}

static int read_run(struct manifest *manifest, const struct guest_memory *memory,
		    const struct sparc_mailbox *copy)
{
	uint64_t entries[SPARC_DIRECTORY_ENTRIES];
	uint64_t bytes = manifest->head.run_bytes;

	for (uint64_t at = 0; at < bytes; at += PAGE) {
		uint64_t page = at / PAGE;
		size_t part = bytes - at < PAGE ? bytes - at : PAGE;
		uint64_t gpa;

		if (page % SPARC_DIRECTORY_ENTRIES == 0) {
			gpa = copy->directory[page / SPARC_DIRECTORY_ENTRIES];
			if (gpa % PAGE || guest_read(memory, gpa, entries, sizeof(entries)))
				return -1;
		}
		gpa = entries[page % SPARC_DIRECTORY_ENTRIES];
		if (gpa % PAGE || guest_read(memory, gpa, (uint8_t *)manifest->run + at, part))
			return -1;
	}
	return 0;
}

/* Bits of the last bytes that stand for no page must be clear. */
static bool tail_is_clear(const uint8_t *bitmap, uint64_t pages)
{
	for (uint64_t bit = pages; bit < SPARC_BITMAP_BYTES(pages) * 8; bit++)
		if (manifest_bit(bitmap, bit))
			return false;
	return true;
}

static const char *check_bitmaps(const struct manifest *manifest, const struct mailbox *mailbox)
{
	const struct sparc_manifest *head = &manifest->head;
	uint64_t drop = 0, stash = 0, frame;

	/* The kernel's parts begin on pages, and so have whole words. */
	for (uint64_t at = 0; at < SPARC_BITMAP_BYTES(head->ram_pages); at += 8) {
		uint64_t d, s;

		memcpy(&d, manifest->drop + at, 8);
		memcpy(&s, manifest->stash + at, 8);
		if (d & s)
			return "a page in both bitmaps";
		drop += __builtin_popcountll(d);
		stash += __builtin_popcountll(s);
	}
	if (!tail_is_clear(manifest->drop, head->ram_pages) ||
	    !tail_is_clear(manifest->stash, head->ram_pages))
		return "a page above all memory";
	if (drop != head->drop_pages || stash != head->stash_pages)
		return "the number of pages";
	frame = head->canary_gpa >> PAGE_SHIFT;
	if (frame >= head->ram_pages || !manifest_bit(manifest->stash, frame))
		return "the canary";
	frame = mailbox->gpa >> PAGE_SHIFT;
	if (frame < head->ram_pages && (manifest_bit(manifest->drop, frame) ||
					manifest_bit(manifest->stash, frame)))
		return "the mailbox among the pages";
	return NULL;
}

static const char *check_pages(const struct manifest *manifest, const struct guest_memory *memory)
{
	const uint8_t *const bitmaps[] = { manifest->drop, manifest->stash };
	uint64_t frame;

	for (int i = 0; i < 2; i++)
		manifest_for_each(frame, bitmaps[i], manifest->head.ram_pages)
			if (!guest_holds(memory, frame << PAGE_SHIFT, PAGE))
				return "a page that is no memory";
	return NULL;
}

static const char *check_extents(struct manifest *manifest, const struct guest_memory *memory,
				 const struct mailbox *mailbox)
{
	for (uint32_t i = 0; i < manifest->head.extents; i++) {
		const struct sparc_extent *extent = &manifest->extents[i];
		uint64_t frame = extent->gpa >> PAGE_SHIFT;

		if (frame >= manifest->head.ram_pages ||
		    !guest_holds(memory, extent->gpa, extent->length))
			return "an extent outside memory or over a page's end";
		if (extent->kind >= SPARC_KINDS)
			return "the kind of an extent";
		if (manifest_bit(manifest->drop, frame) || manifest_bit(manifest->stash, frame))
			return "an extent in a page of a bitmap";
		if (frame == mailbox->gpa >> PAGE_SHIFT)
			return "an extent in the mailbox";
		manifest->extent_bytes += extent->length;
	}
	/* They may overlap, but not so that the host must keep more than the guest has. */
	if (manifest->extent_bytes > memory->end)
		return "extents of more than all memory";
	return NULL;
}

static enum manifest_result check_run(struct manifest *manifest, const struct guest_memory *memory,
				      const struct mailbox *mailbox)
{
	const struct sparc_manifest *head = &manifest->head;
	const uint8_t *run = manifest->run;
	const char *fault;

	if (crc32_update(0, run, head->run_bytes) != head->run_crc)
		return bad(manifest, "the checksum");
	manifest->drop = run;
	manifest->stash = run + SPARC_BITMAP_BYTES(head->ram_pages);
	manifest->extents = (const void *)(run + extents_at(head));
	manifest->processes = (const void *)(run + processes_at(head));
	fault = check_bitmaps(manifest, mailbox);
	if (!fault)
		fault = check_pages(manifest, memory);
	if (!fault)
		fault = check_extents(manifest, memory, mailbox);
	return fault ? bad(manifest, fault) : MANIFEST_GOOD;
}

enum manifest_result manifest_read(struct manifest *manifest, const struct guest_memory *memory,
				   const struct mailbox *mailbox, uint32_t sequence)
{
	struct sparc_mailbox copy;
	const char *fault;

	memset(manifest, 0, sizeof(*manifest));
	if (guest_read(memory, mailbox->gpa, &copy, sizeof(copy)))
		return bad(manifest, "the mailbox");
	manifest->head = copy.manifest;
	fault = check_head(&copy, memory, sequence);
	if (fault)
		return bad(manifest, fault);
	manifest->run = malloc(manifest->head.run_bytes);
	if (!manifest->run)
		return MANIFEST_NO_MEMORY;
	if (read_run(manifest, memory, &copy))
		return bad(manifest, "a part outside memory");
	return check_run(manifest, memory, mailbox);
}

void manifest_free(struct manifest *manifest)
{
	free(manifest->run);
	memset(manifest, 0, sizeof(*manifest));
}
