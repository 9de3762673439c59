// SPDX-License-Identifier: GPL-2.0-or-later
#include "picture.h"

#include <string.h>

#include "machine.h"

#define UNIT		"DisplayScreenshot"
#define VERSION		0x00010001u

/* Two pictures, of these kinds. One without data still has the length of its two sizes. */
#define PICTURES	2
#define SMALL		0
#define LARGE		1
#define NO_DATA		8

static vbox_ssm_fn *real_save;
static uint32_t version;
static bool leaving_out, left_out;

static int save_none(struct ssm *ssm)
{
	static const uint32_t words[] = { PICTURES, NO_DATA, SMALL, NO_DATA, LARGE };
	int status = VBOX_SUCCESS;

	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]) && !VBOX_FAILED(status); i++)
		status = machine.vmm.put_u32(ssm, words[i]);
	return status;
}

static int stand_save(struct ssm *ssm, const void *table, void *user)
{
	if (!leaving_out)
		return real_save(ssm, table, user);
	left_out = true;
	return save_none(ssm);
}

int picture_register(struct uvm *uvm, const char *name, uint32_t instance, uint32_t of_version,
		     size_t guess, vbox_ssm_fn *live_prep, vbox_ssm_fn *live_exec,
		     vbox_ssm_fn *live_vote, vbox_ssm_fn *save_prep, vbox_ssm_fn *save_exec,
		     vbox_ssm_fn *save_done, vbox_ssm_fn *load_prep, vbox_ssm_fn *load_exec,
		     vbox_ssm_fn *load_done, void *user)
{
	if (uvm == machine.uvm && save_exec && !strcmp(name, UNIT)) {
		real_save = save_exec;
		version = of_version;
		save_exec = stand_save;
	}
	return machine.vmm.register_unit(uvm, name, instance, of_version, guess, live_prep, live_exec,
					 live_vote, save_prep, save_exec, save_done, load_prep,
					 load_exec, load_done, user);
}

const char *picture_begin(void)
{
	left_out = false;
	if (!real_save || version != VERSION)
		return "VirtualBox takes a picture of it in an unknown way";
	leaving_out = true;
	return NULL;
}

const char *picture_end(void)
{
	if (!leaving_out)
		return NULL;
	leaving_out = false;
	return left_out ? NULL : "VirtualBox took a picture of it in an unknown way";
}

void picture_forget(void)
{
	real_save = NULL;
	leaving_out = false;
}
