// SPDX-License-Identifier: GPL-2.0-or-later
#include "simulated.h"

#include <stdlib.h>
#include <string.h>

#include "crc32.h"

static uint8_t *at(struct simulated *simulated, uint64_t gpa, size_t bytes)
{
	if (!bytes || gpa >= simulated->pages * PAGE || bytes > PAGE - gpa % PAGE ||
	    simulated->hole[gpa / PAGE])
		abort();
	return simulated->ram + gpa;
}

static bool is_ram(void *context, uint64_t page)
{
	struct simulated *simulated = context;

	if (page % PAGE || page >= simulated->pages * PAGE)
		abort();
	return !simulated->hole[page / PAGE];
}

static bool fails(struct simulated *simulated)
{
	return --simulated->left == 0;
}

static int read_it(void *context, uint64_t gpa, void *to, size_t bytes)
{
	struct simulated *simulated = context;
	const uint8_t *from = at(simulated, gpa, bytes);

	if (fails(simulated))
		return -1;
	memcpy(to, from, bytes);
	if (simulated->on_read)
		simulated->on_read(simulated);
	return 0;
}

static int write_it(void *context, uint64_t gpa, const void *from, size_t bytes)
{
	struct simulated *simulated = context;
	uint8_t *to = at(simulated, gpa, bytes);

	if (fails(simulated))
		return -1;
	memcpy(to, from, bytes);
	memset(simulated->written + gpa, true, bytes);
	return 0;
}

static int load(void *context, uint64_t gpa, uint64_t *word)
{
	const void *from = at(context, gpa, sizeof(*word));

	*word = __atomic_load_n((const uint64_t *)from, __ATOMIC_ACQUIRE);
	return 0;
}

static int store(void *context, uint64_t gpa, uint64_t word)
{
	struct simulated *simulated = context;
	void *to = at(simulated, gpa, sizeof(word));

	__atomic_store_n((uint64_t *)to, word, __ATOMIC_RELEASE);
	memset(simulated->written + gpa, true, sizeof(word));
	return 0;
}

void simulated_open(struct simulated *simulated, uint64_t pages)
{
	*simulated = (struct simulated){
		.memory = { simulated, pages * PAGE, is_ram, read_it, write_it, load, store },
		.ram = aligned_alloc(PAGE, pages * PAGE),
		.hole = calloc(pages, sizeof(bool)),
		.written = calloc(pages * PAGE, sizeof(bool)),
		.pages = pages,
		.left = UINT64_MAX,
	};
	if (!simulated->ram || !simulated->hole || !simulated->written)
		abort();
	memset(simulated->ram, 0, pages * PAGE);
}

void simulated_close(struct simulated *simulated)
{
	free(simulated->ram);
	free(simulated->hole);
	free(simulated->written);
}

struct sparc_mailbox *simulated_mailbox(struct simulated *simulated, uint64_t gpa)
{
	return (void *)at(simulated, gpa, PAGE);
}

struct sparc_mailbox *simulated_identify(struct simulated *simulated, uint64_t gpa,
					 uint64_t instance)
{
	struct sparc_mailbox *mailbox = simulated_mailbox(simulated, gpa);

	memset(mailbox, 0, sizeof(*mailbox));
	memcpy(mailbox->identity.magic, SPARC_MAGIC, sizeof(mailbox->identity.magic));
	mailbox->identity.abi = SPARC_ABI_VERSION;
	mailbox->identity.size = SPARC_PAGE_SIZE;
	mailbox->identity.gpa = gpa;
	mailbox->identity.instance = instance;
	mailbox->identity.crc = crc32_update(0, &mailbox->identity,
					     offsetof(struct sparc_identity, crc));
	mailbox->status.armed = 1;
	mailbox->status.members = 1;
	return mailbox;
}
