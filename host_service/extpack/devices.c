// SPDX-License-Identifier: GPL-2.0-or-later
#include "devices.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "blank.h"
#include "log.h"
#include "slots.h"
#include "vbox.h"

#define MOST_DEVICES	32
#define MOST_TABLES	8
#define MOST_ENTRIES	64	/* of a table before its functions for saving */
#define BIG_ZEROS	(1u << 16)

/* The high halves of the words that VirtualBox's structures begin with. */
#define TABLE_MAGIC	0xffe7u
#define DEVICE_MAGIC	0xff82u
#define CLASS_MAGIC	0xffffu
#define MAGIC(word)	((uint32_t)(word) >> 16)

struct device_class {
	uint32_t version;
	uint32_t reserved;
	char name[32];
};

struct device {
	uint32_t version;
	uint32_t instance;
	uint64_t flags;
	const void *functions;
	void *data[2];
	void *lock;
	const struct device_class *class;
};

typedef int save_fn(struct device *device, struct ssm *ssm);
typedef int device_fn(void);
typedef int register_fn(struct device *device, uint32_t version, size_t guess, const char *before,
			device_fn *live_prep, device_fn *live_exec, device_fn *live_vote,
			device_fn *save_prep, save_fn *save, device_fn *save_done,
			device_fn *load_prep, device_fn *load_exec, device_fn *load_done);

static register_fn stand_register;

enum { STRUCT, STRUCT_EX, BOOL, U8, U16, U32, U64, GCPHYS32, IOPORT, MEM, TEXT, PUTS };

static int put_struct(struct ssm *ssm, const void *from, const void *fields);
static int put_struct_ex(struct ssm *ssm, const void *from, size_t bytes, uint32_t flags,
			 const void *fields, void *user);
static int put_bool(struct ssm *ssm, bool value);
static int put_u8(struct ssm *ssm, uint8_t value);
static int put_u16(struct ssm *ssm, uint16_t value);
static int put_u32(struct ssm *ssm, uint32_t value);
static int put_u64(struct ssm *ssm, uint64_t value);
static int put_gcphys32(struct ssm *ssm, uint32_t value);
static int put_ioport(struct ssm *ssm, uint16_t value);
static int put_mem(struct ssm *ssm, const void *from, size_t bytes);
static int put_text(struct ssm *ssm, const char *text);

/* By what name VirtualBox exports each, which is how its tables are known. */
static struct {
	const char *name;
	void *ours, *real;
} puts_[PUTS] = {
	[STRUCT] = { "SSMR3PutStruct", put_struct, NULL },
	[STRUCT_EX] = { "SSMR3PutStructEx", put_struct_ex, NULL },
	[BOOL] = { "SSMR3PutBool", put_bool, NULL },
	[U8] = { "SSMR3PutU8", put_u8, NULL },
	[U16] = { "SSMR3PutU16", put_u16, NULL },
	[U32] = { "SSMR3PutU32", put_u32, NULL },
	[U64] = { "SSMR3PutU64", put_u64, NULL },
	[GCPHYS32] = { "SSMR3PutGCPhys32", put_gcphys32, NULL },
	[IOPORT] = { "SSMR3PutIOPort", put_ioport, NULL },
	[MEM] = { "SSMR3PutMem", put_mem, NULL },
	[TEXT] = { "SSMR3PutStrZ", put_text, NULL },
};

static struct slot slots[MOST_TABLES * (PUTS + 1)];
static unsigned int slot_count;
static register_fn *real_register;
static const char *unusable = "it was not looked for";

static struct {
	struct device *device;
	save_fn *save;
	char name[32];
	uint32_t version;
	bool saved;
} devices[MOST_DEVICES];
static unsigned int device_count;

/* The save going on, on the machine's first thread. */
static bool blanking, strict;
static uint64_t screen;
static const char *fault;
static unsigned int blanked;
static struct ssm *current;	/* while a device that matters saves itself */
static struct blank blank;

/* ------------------------------------------------------------------ what is saved */

static enum put_fate fate_of(struct ssm *ssm, enum put put, uint64_t *value)
{
	return ssm == current ? blank_put(&blank, put, value) : PUT_KEEP;
}

#define REAL(which, type)	((__typeof__(type) *)puts_[which].real)

#define SCALAR(function, type, which, put)						\
	static int function(struct ssm *ssm, type value)				\
	{										\
		uint64_t word = value;							\
		enum put_fate fate = fate_of(ssm, put, &word);				\
											\
		if (fate == PUT_DROP)							\
			return VBOX_SUCCESS;						\
		return REAL(which, int(struct ssm *, type))(ssm, fate == PUT_ZEROS ? 0 : (type)word); \
	}

SCALAR(put_bool, bool, BOOL, PUT_BOOL)
SCALAR(put_u8, uint8_t, U8, PUT_U8)
SCALAR(put_u16, uint16_t, U16, PUT_U16)
SCALAR(put_u32, uint32_t, U32, PUT_U32)
SCALAR(put_u64, uint64_t, U64, PUT_U64)
SCALAR(put_gcphys32, uint32_t, GCPHYS32, PUT_GCPHYS32)
SCALAR(put_ioport, uint16_t, IOPORT, PUT_IOPORT)

static int put_mem(struct ssm *ssm, const void *from, size_t bytes)
{
	static const uint8_t zeros[BIG_ZEROS];
	typedef int fn(struct ssm *, const void *, size_t);
	uint64_t word = bytes;

	if (fate_of(ssm, PUT_MEM, &word) != PUT_ZEROS)
		return REAL(MEM, fn)(ssm, from, bytes);
	/* In the file, bytes are bytes, in however many parts they come. */
	for (size_t left = bytes; left;) {
		size_t part = left < BIG_ZEROS ? left : BIG_ZEROS;
		int status = REAL(MEM, fn)(ssm, zeros, part);

		if (VBOX_FAILED(status))
			return status;
		left -= part;
	}
	return VBOX_SUCCESS;
}

static int put_text(struct ssm *ssm, const char *text)
{
	uint64_t word = 0;

	fate_of(ssm, PUT_TEXT, &word);
	return REAL(TEXT, int(struct ssm *, const char *))(ssm, text);
}

static int put_struct(struct ssm *ssm, const void *from, const void *fields)
{
	uint64_t word = 0;

	fate_of(ssm, PUT_STRUCT, &word);
	return REAL(STRUCT, int(struct ssm *, const void *, const void *))(ssm, from, fields);
}

static int put_struct_ex(struct ssm *ssm, const void *from, size_t bytes, uint32_t flags,
			 const void *fields, void *user)
{
	typedef int fn(struct ssm *, const void *, size_t, uint32_t, const void *, void *);
	uint64_t word = bytes;

	fate_of(ssm, PUT_STRUCT, &word);
	return REAL(STRUCT_EX, fn)(ssm, from, bytes, flags, fields, user);
}

/* ------------------------------------------------------------------ who saves itself */

static void note_fault(const char *what)
{
	if (what && !fault)
		fault = what;
}

static int save_blanked(unsigned int which, struct ssm *ssm)
{
	int status;

	blank_begin(&blank, devices[which].name, screen);
	current = ssm;
	status = devices[which].save(devices[which].device, ssm);
	current = NULL;
	blank_end(&blank);
	devices[which].saved = true;
	blanked += blank.blanked;
	note_fault(blank.fault);
	if (!VBOX_FAILED(status) && blank.fault && (strict || blank.broken))
		status = VBOX_SAVE_NOT_ALLOWED;
	return status;
}

static int stand_save(struct device *device, struct ssm *ssm)
{
	for (unsigned int i = 0; i < device_count; i++) {
		if (devices[i].device != device)
			continue;
		return blanking ? save_blanked(i, ssm) : devices[i].save(device, ssm);
	}
	return VBOX_SAVE_NOT_ALLOWED;
}

/* A device's name, if it is laid out as devices have been since VirtualBox 6.1. */
static const char *name_of(const struct device *device)
{
	bool named = false;

	if (MAGIC(device->version) != DEVICE_MAGIC || MAGIC(device->class->version) != CLASS_MAGIC)
		return NULL;
	for (unsigned int i = 0; i < slot_count; i++)
		named |= (uintptr_t)slots[i].place - (uintptr_t)device->functions <
			 2 * MOST_ENTRIES * sizeof(void *);
	if (!named || !memchr(device->class->name, '\0', sizeof(device->class->name)))
		return NULL;
	return device->class->name;
}

static bool keep(struct device *device, uint32_t version, save_fn *save)
{
	const char *name = name_of(device);

	if (!name) {
		unusable = "its devices are laid out in an unknown way";
		return false;
	}
	if (!save || !blank_cares(name))
		return false;
	if (device_count == MOST_DEVICES) {
		unusable = "it has too many devices";
		return false;
	}
	devices[device_count].device = device;
	devices[device_count].save = save;
	devices[device_count].version = version;
	strcpy(devices[device_count].name, name);
	device_count++;
	return true;
}

static int stand_register(struct device *device, uint32_t version, size_t guess, const char *before,
			  device_fn *live_prep, device_fn *live_exec, device_fn *live_vote,
			  device_fn *save_prep, save_fn *save, device_fn *save_done,
			  device_fn *load_prep, device_fn *load_exec, device_fn *load_done)
{
	if (keep(device, version, save))
		save = stand_save;
	return real_register(device, version, guess, before, live_prep, live_exec, live_vote,
			     save_prep, save, save_done, load_prep, load_exec, load_done);
}

/* ---------------------------------------------------------------------- the tables */

static bool add_slot(void **place, void *real, void *ours)
{
	if (slot_count == sizeof(slots) / sizeof(slots[0]))
		return false;
	slots[slot_count++] = (struct slot){ real, ours, place };
	return true;
}

/*
 * Is the word the first of the functions for saving, in a table for devices? Before it are that
 * table's other functions, and before these the word that says whose the table is.
 */
static bool is_in_device_table(void **word, void **words)
{
	for (void **at = word - 1; at > words && word - at < MOST_ENTRIES; at--)
		if (!slots_is_code(*at))
			return word - at > 2 && MAGIC((uintptr_t)*at) == TABLE_MAGIC &&
			       (uintptr_t)*at <= UINT32_MAX;
	return false;
}

/* Two functions for registering come just before those for saving. */
static bool take_table(void **first, const void *end)
{
	register_fn *here = (register_fn *)first[-2];

	if (real_register && here != real_register)
		return false;
	real_register = here;
	if (!add_slot(first - 2, (void *)here, (void *)stand_register))
		return false;
	for (unsigned int put = 0; put < PUTS; put++) {
		void **at = first;

		while ((void *)at < end && at < first + MOST_ENTRIES && *at != puts_[put].real)
			at++;
		if ((void *)at == end || at == first + MOST_ENTRIES ||
		    !add_slot(at, puts_[put].real, puts_[put].ours))
			return false;
	}
	return true;
}

static const char *find_tables(const void *inside)
{
	size_t count;
	void **words = slots_words(inside, &count);

	if (!words)
		return "the tables of its devices";
	for (size_t i = 1; i < count; i++)
		if (words[i] == puts_[STRUCT].real && is_in_device_table(&words[i], words) &&
		    !take_table(&words[i], words + count))
			return "a table of its devices that is known";
	return slot_count ? NULL : "a table of its devices that is known";
}

static const char *stand_in(const void *inside, void *library)
{
	const char *missing;

	for (unsigned int i = 0; i < PUTS; i++) {
		puts_[i].real = dlsym(library, puts_[i].name);
		if (!puts_[i].real)
			return puts_[i].name;
	}
	missing = find_tables(inside);
	for (unsigned int i = 0; i < slot_count && !missing; i++)
		if (!slots_set(slots[i].place, slots[i].ours))
			missing = "a table of its devices that can be changed";
	return missing;
}

const char *devices_open(const void *inside, void *library)
{
	devices_close();
	unusable = stand_in(inside, library);
	if (unusable)
		slots_restore(slots, slot_count);
	return unusable;
}

void devices_close(void)
{
	slots_restore(slots, slot_count);
	slot_count = device_count = 0;
	real_register = NULL;
	unusable = "it was not looked for";
}

/* --------------------------------------------------------------------------- a save */

const char *devices_fault(void)
{
	if (unusable)
		return unusable;
	for (unsigned int i = 0; i < device_count; i++)
		if (!blank_knows(devices[i].name, devices[i].version)) {
			log_line("device %s saves its state in version %u, which is unknown",
				 devices[i].name, devices[i].version);
			return "a device saves its state in a version that is unknown";
		}
	return NULL;
}

void devices_begin(uint64_t screen_bytes, bool ends_on_fault)
{
	blanking = true;
	screen = screen_bytes;
	strict = ends_on_fault;
	fault = NULL;
	blanked = 0;
	for (unsigned int i = 0; i < device_count; i++)
		devices[i].saved = false;
}

const char *devices_end(unsigned int *count)
{
	if (!blanking)
		return NULL;
	blanking = false;
	for (unsigned int i = 0; i < device_count && !fault; i++)
		if (!devices[i].saved)
			fault = "a device saved its state in an unknown way";
	*count = blanked;
	return fault;
}
