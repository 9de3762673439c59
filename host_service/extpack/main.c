// SPDX-License-Identifier: GPL-2.0-or-later
/* The module for VirtualBox's server: it must be there, and does nothing. */
#include "vbox.h"

static struct vbox_main_registration registration = {
	.version = VBOX_MAIN_VERSION,
	.end = VBOX_MAIN_VERSION,
};

__attribute__((visibility("default")))
int VBoxExtPackRegister(const struct vbox_helpers *helpers,
			const struct vbox_main_registration **result, void *error);

int VBoxExtPackRegister(const struct vbox_helpers *helpers,
			const struct vbox_main_registration **result, void *error)
{
	(void)error;
	if (!VBOX_SAME_MAJOR(helpers->version, VBOX_HELPERS_VERSION))
		return VBOX_VERSION_MISMATCH;
	registration.vbox_version = helpers->vbox_version;
	*result = &registration;
	return VBOX_SUCCESS;
}
