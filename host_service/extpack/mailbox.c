// SPDX-License-Identifier: GPL-2.0-or-later
#include "mailbox.h"

#include <string.h>

#include "crc32.h"

#define STATUS_TRIES	8

static const uint8_t magic[16] = SPARC_MAGIC;

static bool identity_at(const struct guest_memory *memory, uint64_t gpa, struct mailbox *mailbox)
{
	struct sparc_identity identity;

	if (guest_read(memory, gpa, &identity, sizeof(identity)))
		return false;
	if (memcmp(identity.magic, magic, sizeof(magic)) || identity.gpa != gpa ||
	    identity.size != SPARC_PAGE_SIZE)
		return false;
	if (identity.crc != crc32_update(0, &identity, offsetof(struct sparc_identity, crc)))
		return false;
	*mailbox = (struct mailbox){ gpa, identity.instance, identity.abi };
	return true;
}

unsigned int mailbox_scan(const struct guest_memory *memory, struct mailbox *found,
			  unsigned int room)
{
	uint64_t end = memory->end < SPARC_MAILBOX_LIMIT ? memory->end : SPARC_MAILBOX_LIMIT;
	struct mailbox mailbox;
	unsigned int count = 0;

	for (uint64_t gpa = 0; gpa < end; gpa += PAGE)
		if (identity_at(memory, gpa, &mailbox)) {
			if (count < room)
				found[count] = mailbox;
			count++;
		}
	return count;
}

bool mailbox_stands(const struct guest_memory *memory, const struct mailbox *mailbox)
{
	struct mailbox now;

	return identity_at(memory, mailbox->gpa, &now) && now.instance == mailbox->instance &&
	       now.abi == mailbox->abi;
}

int mailbox_status(const struct guest_memory *memory, const struct mailbox *mailbox,
		   struct sparc_status *status)
{
	uint64_t gpa = mailbox->gpa + offsetof(struct sparc_mailbox, status);
	uint64_t word_gpa = gpa + offsetof(struct sparc_status, word);
	uint64_t before, after;

	if (guest_load(memory, word_gpa, &before))
		return -1;
	for (int i = 0; i < STATUS_TRIES; i++) {
		if (guest_read(memory, gpa, status, sizeof(*status)) ||
		    guest_load(memory, word_gpa, &after))
			return -1;
		if (before == after)
			break;
		before = after;
	}
	status->word = after;
	return 0;
}

int mailbox_request(const struct guest_memory *memory, const struct mailbox *mailbox,
		    uint32_t sequence, enum sparc_request what)
{
	return guest_store(memory, mailbox->gpa + offsetof(struct sparc_mailbox, request),
			   SPARC_WORD(sequence, what));
}

int mailbox_last_sequence(const struct guest_memory *memory, const struct mailbox *mailbox,
			  uint32_t *sequence)
{
	uint64_t word;

	if (guest_load(memory, mailbox->gpa + offsetof(struct sparc_mailbox, request), &word))
		return -1;
	*sequence = SPARC_WORD_SEQUENCE(word);
	return 0;
}
