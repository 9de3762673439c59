// SPDX-License-Identifier: GPL-2.0-or-later
#include "guest.h"

#include <string.h>

#define FOUR_GB		(1ULL << 32)
#define VIDEO_AND_ROM	0xa0000ULL	/* in the middle of the RAM below 4 GB */
#define ABOVE_ROM	0x100000ULL
#define VIDEO		"VRam"		/* as VirtualBox calls it */

static bool in_ram(void *context, uint64_t page)
{
	const struct guest *guest = context;

	if (page >= VIDEO_AND_ROM && page < ABOVE_ROM)
		return false;
	return page < guest->below_4g ||
	       (page >= FOUR_GB && page - FOUR_GB < guest->above_4g);
}

/* Only the machine's own threads may ask VirtualBox what kind of page it is. */
static bool is_plain_ram(void *context, uint64_t page)
{
	const struct guest *guest = context;

	return in_ram(context, page) && guest->vmm->is_normal(guest->vm, page);
}

static int read_inside(void *context, uint64_t gpa, void *to, size_t bytes)
{
	const struct guest *guest = context;

	return guest->vmm->read(guest->vm, to, gpa, bytes);
}

static int write_inside(void *context, uint64_t gpa, const void *from, size_t bytes)
{
	const struct guest *guest = context;

	return guest->vmm->write(guest->vm, gpa, from, bytes);
}

/* All guest processors stand still in a save: there is nobody to see half a word. */
static int load_inside(void *context, uint64_t gpa, uint64_t *word)
{
	return read_inside(context, gpa, word, sizeof(*word));
}

static int store_inside(void *context, uint64_t gpa, uint64_t word)
{
	return write_inside(context, gpa, &word, sizeof(word));
}

static int read_outside(void *context, uint64_t gpa, void *to, size_t bytes)
{
	const struct guest *guest = context;
	struct vbox_page_lock lock;
	const void *at;
	int status = guest->vmm->map_read_only(guest->vm, gpa, &at, &lock);

	if (VBOX_FAILED(status))
		return status;
	memcpy(to, at, bytes);
	guest->vmm->unmap(guest->vm, &lock);
	return VBOX_SUCCESS;
}

static int write_outside(void *context, uint64_t gpa, const void *from, size_t bytes)
{
	const struct guest *guest = context;
	struct vbox_page_lock lock;
	void *at;
	int status = guest->vmm->map(guest->vm, gpa, &at, &lock);

	if (VBOX_FAILED(status))
		return status;
	memcpy(at, from, bytes);
	guest->vmm->unmap(guest->vm, &lock);
	return VBOX_SUCCESS;
}

static int load_outside(void *context, uint64_t gpa, uint64_t *word)
{
	const struct guest *guest = context;
	struct vbox_page_lock lock;
	const void *at;
	int status = guest->vmm->map_read_only(guest->vm, gpa, &at, &lock);

	if (VBOX_FAILED(status))
		return status;
	*word = __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE);
	guest->vmm->unmap(guest->vm, &lock);
	return VBOX_SUCCESS;
}

static int store_outside(void *context, uint64_t gpa, uint64_t word)
{
	const struct guest *guest = context;
	struct vbox_page_lock lock;
	void *at;
	int status = guest->vmm->map(guest->vm, gpa, &at, &lock);

	if (VBOX_FAILED(status))
		return status;
	__atomic_store_n((uint64_t *)at, word, __ATOMIC_RELEASE);
	guest->vmm->unmap(guest->vm, &lock);
	return VBOX_SUCCESS;
}

static bool in_video(void *context, uint64_t page)
{
	const struct guest *guest = context;

	return page >= guest->video.start && page - guest->video.start < guest->video.bytes;
}

/* VirtualBox may hold it in more pieces than one, and lists them from the lowest up. */
void guest_find_video(struct guest *guest)
{
	uint64_t first, last, start = 0, end = 0;
	const char *name;
	bool mmio;

	for (uint32_t i = 0; !guest->vmm->get_range(guest->vm, i, &first, &last, &name, &mmio); i++) {
		if (!name || strncmp(name, VIDEO, strlen(VIDEO)) || mmio)
			continue;
		if (end && first != end) {
			start = end = 0;
			break;
		}
		start = end ? start : first;
		end = last + 1;
	}
	guest->video = (struct video){
		.memory = {
			guest, end, in_video, read_inside, write_inside, load_inside, store_inside,
		},
		.start = start,
		.bytes = start % PAGE || end % PAGE ? 0 : end - start,
	};
}

void guest_open(struct guest *guest, const struct vmm *vmm, struct vm *vm)
{
	uint64_t end;

	guest->vmm = vmm;
	guest->vm = vm;
	/* VirtualBox 7 gives it in 32 bits. */
	guest->below_4g = (uint32_t)vmm->ram_below_4g(vm);
	guest->above_4g = vmm->ram_above_4g(vm);
	end = guest->above_4g ? FOUR_GB + guest->above_4g : guest->below_4g;
	guest->inside = (struct guest_memory){
		guest, end, is_plain_ram, read_inside, write_inside, load_inside, store_inside,
	};
	guest->outside = (struct guest_memory){
		guest, end, in_ram, read_outside, write_outside, load_outside, store_outside,
	};
}
