// SPDX-License-Identifier: GPL-2.0-or-later
#include "blank.h"

#include <string.h>

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define SECTOR		512
#define MOST_QUEUED	4096

struct blank_unit {
	const char *name;
	uint32_t first, last;	/* versions whose order of values is known */
	enum put_fate (*put)(struct blank *blank, enum put put, uint64_t *value);
	void (*end)(struct blank *blank);
};

/* The value that came so many ago; 1 is the last. */
static const struct blank_past *ago(const struct blank *blank, unsigned int steps)
{
	return &blank->past[(blank->count - steps) % BLANK_PAST];
}

/* Were the last values handed over in these ways? */
static bool came(const struct blank *blank, const char *puts)
{
	size_t length = strlen(puts);

	if (length > BLANK_PAST || length > blank->count)
		return false;
	for (size_t i = 0; i < length; i++)
		if (ago(blank, length - i)->put != (enum put)puts[i])
			return false;
	return true;
}

static enum put_fate unknown(struct blank *blank, const char *fault)
{
	if (!blank->fault)
		blank->fault = fault;
	return PUT_KEEP;
}

static enum put_fate zeros(struct blank *blank)
{
	blank->blanked++;
	return PUT_ZEROS;
}

static enum put_fate set(struct blank *blank, uint64_t *value, uint64_t to)
{
	*value = to;
	blank->blanked++;
	return PUT_KEEP;
}

/* ------------------------------------------------------------------- IDE disks */

#define IDE_BUSY	0x80u
#define IDE_DATA	0x08u	/* the guest is to fetch or bring the buffer's data */

/* A controller: three numbers of which the last is what its thread does, five flags, its DMA. */
#define IDE_CONTROLLER	"111bbbbb"
/* A disk up to its buffer: geometry, registers, where the transfer is, commands, size. */
#define IDE_DISK(sector)	"bbb144448" "1111111111111111111" "bb" "444444" sector "4" "mm14m4"
#define IDE_STATUS_AGO	(8 + 6 + 2 + 7)

static enum put_fate put_ide(struct blank *blank, enum put put, uint64_t *value)
{
	if (put != PUT_MEM)
		return PUT_KEEP;
	if (came(blank, IDE_CONTROLLER)) {
		blank->busy = ago(blank, 6)->value != 0;
		for (unsigned int flag = 1; flag <= 5; flag++)
			blank->busy |= ago(blank, flag)->value != 0;
		blank->controller = true;
		return PUT_KEEP;
	}
	if (*value < SECTOR)
		return PUT_KEEP;
	/* The number of a sector has 64 bits since version 22. */
	if (!blank->controller || (!came(blank, IDE_DISK("4")) && !came(blank, IDE_DISK("8"))) ||
	    ago(blank, 1)->value != *value)
		return unknown(blank, "the disk controller saves its state in an unknown order");
	/* Data under way belongs to the guest that goes on from here. */
	if (blank->busy || ago(blank, IDE_STATUS_AGO)->value & (IDE_BUSY | IDE_DATA))
		return unknown(blank, "the disk controller was in the middle of a transfer");
	return zeros(blank);
}

static void end_ide(struct blank *blank)
{
	if (!came(blank, "4") || ago(blank, 1)->value != UINT32_MAX)
		unknown(blank, "the disk controller saves its state in an unknown order");
}

/* AHCI keeps no sectors; should it begin to, it is noticed. */
static enum put_fate put_ahci(struct blank *blank, enum put put, uint64_t *value)
{
	if (put == PUT_MEM && *value >= SECTOR)
		return unknown(blank, "the AHCI controller saves more than was known of it");
	return PUT_KEEP;
}

/* -------------------------------------------------------------- keyboard and mouse */

#define KBD_FULL	0x01u	/* a byte waits in the controller */
#define KBD_FROM_MOUSE	0x20u
#define KBD_OVERRUN	0xffu	/* what a keyboard says that has lost key strokes */
#define KBD_ACK		0xfau
#define KBD_AGAIN	0xfeu

/*
 * 1, b, 4: as handed over. s: the controller's status. o: the byte that waits. z: the key that
 * repeats. q: a queue, its length and then its bytes. d: a queue of strokes, to be empty.
 */
static const char keyboard[] = "1s1o4" "111z11zbb" "qdq4" "1111111" "qd";

static enum put_fate strange_keyboard(struct blank *blank)
{
	/* What was left out before may not fit with what follows. */
	blank->broken |= blank->blanked > 0;
	return unknown(blank, "the keyboard saves its state in an unknown order");
}

static enum put_fate waiting_byte(struct blank *blank, uint64_t *value)
{
	if (!(blank->status & KBD_FULL))
		return set(blank, value, 0);
	/* The interrupt for it is on its way: a byte must be there. */
	if (blank->status & KBD_FROM_MOUSE || *value == KBD_ACK || *value == KBD_AGAIN)
		return PUT_KEEP;
	return set(blank, value, KBD_OVERRUN);
}

static enum put_fate begin_queue(struct blank *blank, uint64_t *value, bool drop)
{
	if (*value > MOST_QUEUED)
		return strange_keyboard(blank);
	blank->left = *value;
	blank->dropping = drop;
	blank->step++;
	if (drop)
		return set(blank, value, 0);
	return PUT_KEEP;
}

static enum put_fate put_keyboard(struct blank *blank, enum put put, uint64_t *value)
{
	char want = keyboard[blank->step];
	enum put expected = strchr("soz", want) ? PUT_U8 : strchr("qd", want) ? PUT_U32 : (enum put)want;

	if (blank->left) {
		if (put != PUT_U8)
			return strange_keyboard(blank);
		blank->left--;
		return blank->dropping ? PUT_DROP : PUT_KEEP;
	}
	if (!want || put != expected)
		return strange_keyboard(blank);
	if (expected == PUT_U32 && want != '4')
		return begin_queue(blank, value, want == 'd');
	blank->step++;
	switch (want) {
	case 's':
		blank->status = *value;
		return PUT_KEEP;
	case 'o':
		return waiting_byte(blank, value);
	case 'z':
		return set(blank, value, 0);
	default:
		return PUT_KEEP;
	}
}

static void end_keyboard(struct blank *blank)
{
	if (keyboard[blank->step] || blank->left)
		strange_keyboard(blank);
}

/* ---------------------------------------------------------------------- serial lines */

/* VirtualBox saves none of its FIFOs' bytes, but of each register of data the last one. */
static enum put_fate put_serial(struct blank *blank, enum put put, uint64_t *value)
{
	if (put == PUT_MEM && *value > 1)
		return unknown(blank, "the serial line saves more than was known of it");
	if (put == PUT_U8 && (came(blank, "1i42") || came(blank, "1i421")) && blank->count <= 5)
		return set(blank, value, 0);
	return PUT_KEEP;
}

static void end_serial(struct blank *blank)
{
	if (blank->blanked != 2)
		unknown(blank, "the serial line saves its state in an unknown order");
}

/* --------------------------------------------------------------------------- screen */

/*
 * Pictures that are not in video memory: the text screen from before the guest switched to
 * graphics, and screens of their own. Each comes after a structure and its own size.
 */
static enum put_fate put_vga(struct blank *blank, enum put put, uint64_t *value)
{
	if (blank->screen && !blank->count && (put != PUT_U32 || *value != blank->screen))
		return unknown(blank, "the screen has another amount of memory than was found");
	if (blank->screen && put == PUT_MEM && *value && came(blank, "s4") &&
	    ago(blank, 1)->value == *value)
		return zeros(blank);
	return PUT_KEEP;
}

/* ------------------------------------------------------------------------------------ */

static const struct blank_unit units[] = {
	{ "piix3ide", 21, 22, put_ide, end_ide },
	{ "ahci", 0, UINT32_MAX, put_ahci, NULL },
	{ "pckbd", 8, 8, put_keyboard, end_keyboard },
	{ "serial", 7, 7, put_serial, end_serial },
	{ "vga", 27, 34, put_vga, NULL },
};

static const struct blank_unit *find(const char *name)
{
	for (size_t i = 0; i < COUNT(units); i++)
		if (!strcmp(units[i].name, name))
			return &units[i];
	return NULL;
}

bool blank_cares(const char *name)
{
	return find(name) != NULL;
}

bool blank_knows(const char *name, uint32_t version)
{
	const struct blank_unit *unit = find(name);

	return unit && version >= unit->first && version <= unit->last;
}

void blank_begin(struct blank *blank, const char *name, uint64_t screen)
{
	*blank = (struct blank){ .unit = find(name), .screen = screen };
}

enum put_fate blank_put(struct blank *blank, enum put put, uint64_t *value)
{
	uint64_t was = *value;
	enum put_fate fate = blank->unit->put(blank, put, value);

	blank->past[blank->count++ % BLANK_PAST] = (struct blank_past){ put, was };
	return fate;
}

void blank_end(struct blank *blank)
{
	if (blank->unit->end)
		blank->unit->end(blank);
}
