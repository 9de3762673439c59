// SPDX-License-Identifier: GPL-2.0-or-later
/* Loading and unloading. */
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/panic_notifier.h>
#include <linux/reboot.h>

#include "sparc.h"

/* A kernel that starts next without this module must not show the host an old mailbox. */
static int sparc_going_down(struct notifier_block *block, unsigned long event, void *data)
{
	sparc_mailbox_wipe();
	return NOTIFY_DONE;
}

static struct notifier_block sparc_on_reboot = { .notifier_call = sparc_going_down };
static struct notifier_block sparc_on_panic = { .notifier_call = sparc_going_down };

static int __init sparc_init(void)
{
	int error;

	error = sparc_discipline_start();
	if (error)
		return error;
	error = sparc_mailbox_make();
	if (error)
		return error;
	sparc_free_sweep();
	sparc_stacks_start();
	/* Where it cannot be done, that is told; excluding is refused then. */
	sparc_scrub_start(false);
	error = sparc_files_start();
	if (error)
		goto no_files;
	error = sparc_follow_start();
	if (error)
		goto no_follow;
	error = sparc_poll_start();
	if (error)
		goto no_poll;
	error = sparc_device_make();
	if (error)
		goto no_device;
	register_reboot_notifier(&sparc_on_reboot);
	atomic_notifier_chain_register(&panic_notifier_list, &sparc_on_panic);
	return 0;

no_device:
	sparc_poll_stop();
no_poll:
	sparc_follow_stop();
no_follow:
	sparc_files_stop();
no_files:
	sparc_scrub_stop();
	sparc_mailbox_remove();
	return error;
}

/* Not while something is excluded or the device is open: each holds the module. */
static void __exit sparc_exit(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &sparc_on_panic);
	unregister_reboot_notifier(&sparc_on_reboot);
	sparc_device_remove();
	sparc_poll_stop();
	sparc_stalls_stop();
	sparc_follow_stop();
	sparc_files_stop();
	sparc_scrub_stop();
	sparc_set_forget();
	sparc_terminals_forget(true);
	sparc_events_clear();
	sparc_mailbox_remove();
}

module_init(sparc_init);
module_exit(sparc_exit);

MODULE_DESCRIPTION("Keeps chosen processes out of virtual machine checkpoints");
MODULE_LICENSE("GPL");
MODULE_VERSION(SPARC_VERSION);
