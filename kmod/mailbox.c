// SPDX-License-Identifier: GPL-2.0-or-later
/* The page that the host finds, and the memory that the manifest is written to. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/crc32.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/random.h>
#include <linux/vmalloc.h>

#include "sparc.h"

static unsigned int max_extents = 32768;
module_param(max_extents, uint, 0444);
MODULE_PARM_DESC(max_extents, "parts of pages that a manifest has room for");

static unsigned int max_processes = 8192;
module_param(max_processes, uint, 0444);
MODULE_PARM_DESC(max_processes, "processes that a manifest has room for");

struct sparc_mailbox *sparc_mailbox;
struct sparc_run sparc_run;

static u64 *canary;
static u32 directories;

static u32 crc(u32 before, const void *data, size_t length)
{
	return ~crc32_le(~before, data, length);
}

static unsigned long highest_pfn(void)
{
	unsigned long end = 0;
	int node;

	for_each_online_node(node)
		end = max(end, node_end_pfn(node));
	return end;
}

static int make_run(void)
{
	struct sparc_run *run = &sparc_run;
	u64 bitmap;

	run->ram_pages = highest_pfn();
	run->max_extents = clamp(max_extents, 64u, 1u << 22);
	run->max_processes = clamp(max_processes, 64u, 1u << 20);
	bitmap = SPARC_BITMAP_BYTES(run->ram_pages);
	run->capacity = 2 * bitmap + SPARC_ALIGN(run->max_extents * sizeof(struct sparc_extent)) +
			SPARC_ALIGN(run->max_processes * sizeof(struct sparc_process));
	run->base = vmalloc_user(run->capacity);
	if (!run->base)
		return -ENOMEM;
	run->drop = run->base;
	run->stash = run->base + bitmap;
	run->extents = run->base + 2 * bitmap;
	return 0;
}

/* The directory never changes after the load: the run's pages stay where they are. */
static int make_directory(void)
{
	u64 pages = sparc_run.capacity / SPARC_PAGE_SIZE;
	u64 *entries = NULL;
	u64 page;

	if (DIV_ROUND_UP(pages, SPARC_DIRECTORY_ENTRIES) > SPARC_DIRECTORIES)
		return -E2BIG;
	for (page = 0; page < pages; page++) {
		u32 slot = page % SPARC_DIRECTORY_ENTRIES;

		if (!slot) {
			entries = (u64 *)get_zeroed_page(GFP_KERNEL);
			if (!entries)
				return -ENOMEM;
			sparc_mailbox->directory[directories++] = virt_to_phys(entries);
		}
		entries[slot] = (u64)vmalloc_to_pfn(sparc_run.base + page * SPARC_PAGE_SIZE)
				<< PAGE_SHIFT;
	}
	return 0;
}

/* Before each park: in a restored machine the last one's is gone. */
void sparc_canary_fill(void)
{
	get_random_bytes(canary, SPARC_PAGE_SIZE);
	/* No part of it may be zero by chance. */
	canary[0] |= 1;
	canary[SPARC_DIRECTORY_ENTRIES - 1] |= 1;
}

static void identify(void)
{
	struct sparc_identity *identity = &sparc_mailbox->identity;

	memcpy(identity->magic, SPARC_MAGIC, sizeof(identity->magic));
	identity->abi = SPARC_ABI_VERSION;
	identity->size = sizeof(*sparc_mailbox);
	identity->gpa = virt_to_phys(sparc_mailbox);
	identity->instance = get_random_u64();
	identity->crc = crc(0, identity, offsetof(struct sparc_identity, crc));
}

int sparc_mailbox_make(void)
{
	int error;

	BUILD_BUG_ON(sizeof(struct sparc_mailbox) != SPARC_PAGE_SIZE);
	BUILD_BUG_ON(PAGE_SIZE != SPARC_PAGE_SIZE);
	sparc_mailbox = (void *)__get_free_page(GFP_KERNEL | GFP_DMA | __GFP_ZERO);
	if (!sparc_mailbox)
		return -ENOMEM;
	error = -ENXIO;
	if (virt_to_phys(sparc_mailbox) >= SPARC_MAILBOX_LIMIT) {
		pr_err("there is no memory below 16 MB\n");
		goto failed;
	}
	error = make_run();
	if (!error)
		error = make_directory();
	if (error)
		goto failed;
	error = -ENOMEM;
	canary = (u64 *)__get_free_page(GFP_KERNEL);
	if (!canary)
		goto failed;
	sparc_canary_fill();
	identify();
	return 0;

failed:
	sparc_mailbox_remove();
	return error;
}

void sparc_mailbox_wipe(void)
{
	if (sparc_mailbox)
		memset(&sparc_mailbox->identity, 0, sizeof(sparc_mailbox->identity));
}

/* The mailbox of an earlier kernel, in a page that is free now. */
void sparc_mailbox_wipe_stale(void *page)
{
	struct sparc_identity *identity = page;

	if (!memcmp(identity->magic, SPARC_MAGIC, sizeof(identity->magic)) &&
	    identity->gpa == virt_to_phys(page))
		memset(identity, 0, sizeof(*identity));
}

void sparc_mailbox_remove(void)
{
	sparc_mailbox_wipe();
	while (directories)
		free_page((unsigned long)phys_to_virt(sparc_mailbox->directory[--directories]));
	vfree(sparc_run.base);
	sparc_run.base = NULL;
	free_page((unsigned long)canary);
	canary = NULL;
	free_page((unsigned long)sparc_mailbox);
	sparc_mailbox = NULL;
}

void sparc_mailbox_members(u32 members, bool armed)
{
	WRITE_ONCE(sparc_mailbox->status.members, members);
	if (armed)
		WRITE_ONCE(sparc_mailbox->status.armed, 1);
}

void sparc_mailbox_status(u32 sequence, u32 state, u32 reason, s32 pid, const char *comm)
{
	struct sparc_status *status = &sparc_mailbox->status;

	WRITE_ONCE(status->reason, reason);
	WRITE_ONCE(status->reason_pid, pid);
	memset(status->reason_comm, 0, sizeof(status->reason_comm));
	if (comm)
		memcpy(status->reason_comm, comm, sizeof(status->reason_comm));
	/* The word comes last: who sees it, sees the reason too. */
	smp_wmb();
	WRITE_ONCE(status->word, SPARC_WORD(sequence, state));
}

/* Seal the manifest that has been collected. */
void sparc_mailbox_publish(void)
{
	struct sparc_manifest *manifest = &sparc_mailbox->manifest;
	u32 sum;

	set_bit(virt_to_phys(canary) >> PAGE_SHIFT, sparc_run.stash);
	manifest->stash_pages++;
	manifest->kind_pages[SPARC_KIND_OTHER]++;
	manifest->canary_gpa = virt_to_phys(canary);
	manifest->ram_pages = sparc_run.ram_pages;
	manifest->directories = directories;
	manifest->run_crc = crc(0, sparc_run.base, manifest->run_bytes);
	sum = crc(0, manifest, offsetof(struct sparc_manifest, crc));
	manifest->crc = crc(sum, sparc_mailbox->directory,
			    directories * sizeof(sparc_mailbox->directory[0]));
}

/* In a machine made from a sanitised checkpoint all of it is zero. */
bool sparc_canary_gone(void)
{
	return !READ_ONCE(canary[0]) && !READ_ONCE(canary[SPARC_DIRECTORY_ENTRIES - 1]);
}
