// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sees each file that an excluded process comes to have: by opening it, by being passed it, by
 * attaching shared memory, by crashing. It is noted before the process runs on. Nothing is
 * watched until something is excluded for the first time.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/coredump.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/slab.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

struct arrival {
	struct callback_head work;
	struct file *file;
	bool written;
};

/* One could not be noted: no checkpoint is clean any more. */
static bool lost;

bool sparc_watch_lost(void)
{
	return READ_ONCE(lost);
}

static void lose(int error)
{
	if (!READ_ONCE(lost))
		pr_err("cannot note a file: %d\n", error);
	WRITE_ONCE(lost, true);
}

static void arrived(struct callback_head *work)
{
	struct arrival *arrival = container_of(work, struct arrival, work);
	int error = sparc_touch(arrival->file, arrival->written);

	if (error)
		lose(error);
	fput(arrival->file);
	kfree(arrival);
	sparc_task_work_done();
}

static void arrives(struct file *file, bool written)
{
	struct arrival *arrival = kmalloc(sizeof(*arrival), GFP_ATOMIC);
	int error = -ENOMEM;

	if (arrival) {
		arrival->file = get_file(file);
		arrival->written = written;
		error = sparc_task_work(&arrival->work, arrived);
		if (!error)
			return;
		/* This task ends, and will have no files; others may have it. */
		kfree(arrival);
		fput(file);
	}
	lose(error);
}

/* Which argument of the function is the file. */
struct watch {
	struct kprobe probe;
	int argument;
	bool registered;
};

static void look_at(struct file *file, bool written)
{
	u32 flags;

	if (!sparc_member_flags(current, &flags) || (flags & SPARC_MEMORY_ONLY))
		return;
	sparc_terminal_note(file);
	if (sparc_is_file(file_inode(file)))
		arrives(file, written);
}

static int seen(struct kprobe *probe, struct pt_regs *registers)
{
	struct watch *watch = container_of(probe, struct watch, probe);
	struct file *file = (void *)regs_get_kernel_argument(registers, watch->argument);

	look_at(file, file->f_mode & FMODE_WRITE);
	return 0;
}

/* The kernel writes what a crashed process had in memory, and begins with this. */
static int dumps(struct kprobe *probe, struct pt_regs *registers)
{
	struct coredump_params *dump = (void *)regs_get_kernel_argument(registers, 0);

	if (!dump->written && dump->file)
		look_at(dump->file, true);
	return 0;
}

#define WATCH(function, number) { \
	.probe = { .symbol_name = function, .pre_handler = seen, .flags = KPROBE_FLAG_DISABLED }, \
	.argument = number, \
}

static struct watch watches[] = {
	WATCH("fd_install", 1),
	WATCH("shm_mmap", 0),
	WATCH("__io_fixed_fd_install", 1),
	WATCH("io_fixed_fd_install", 2),
	{ .probe = { .symbol_name = "dump_emit", .pre_handler = dumps,
		     .flags = KPROBE_FLAG_DISABLED } },
};

/* A kernel without the others has not what they are for. */
static bool needed(struct watch *watch)
{
	return watch == watches;
}

int sparc_watch_start(void)
{
	struct watch *watch;
	int error;

	for (watch = watches; watch < watches + ARRAY_SIZE(watches); watch++) {
		error = register_kprobe(&watch->probe);
		watch->registered = !error;
		if (error && needed(watch)) {
			pr_err("cannot watch %s: %d\n", watch->probe.symbol_name, error);
			return error;
		}
	}
	return 0;
}

/* From the first exclusion on. */
int sparc_files_watch(void)
{
	struct watch *watch;
	int error = 0;

	for (watch = watches; !error && watch < watches + ARRAY_SIZE(watches); watch++)
		if (watch->registered && kprobe_disabled(&watch->probe))
			error = enable_kprobe(&watch->probe);
	return error;
}

void sparc_watch_stop(void)
{
	struct watch *watch;

	for (watch = watches; watch < watches + ARRAY_SIZE(watches); watch++)
		if (watch->registered)
			unregister_kprobe(&watch->probe);
}
