// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Follows the set through forks, execs and exits, by the scheduler's tracepoints:
 * a child is noted before it runs its first instruction. The tracepoints are not
 * exported one by one, so they are looked up by name.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/binfmts.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/tracepoint.h>

#include "sparc.h"

static void on_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	u32 flags;

	if (thread_group_leader(child) && sparc_member_flags(parent, &flags))
		sparc_set_joined(child, flags);
}

static void on_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	if (sparc_is_member(task))
		sparc_set_new_space(task->mm);
}

/* Kernels from 6.16 on pass a third argument; nothing is lost by not taking it. */
static void on_exit(void *data, struct task_struct *task)
{
	u32 flags;
	bool member = sparc_member_flags(task, &flags);

	/* Its program may have been somebody's who is excluded later. */
	if (!member && ((task->flags & PF_KTHREAD) || !sparc_scrub_everybody()))
		return;
	sparc_registers_forget();
	sparc_stacks_forget();
	if (member && !(flags & SPARC_MEMORY_ONLY))
		sparc_terminal_note_own();
	if (member && !atomic_read(&task->signal->live))
		sparc_set_left(task);
}

static struct {
	const char *name;
	void *probe;
	struct tracepoint *point;
	bool registered;
} probes[] = {
	{ .name = "sched_process_fork", .probe = on_fork },
	{ .name = "sched_process_exec", .probe = on_exec },
	{ .name = "sched_process_exit", .probe = on_exit },
};

static void find(struct tracepoint *point, void *data)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (!strcmp(point->name, probes[i].name))
			probes[i].point = point;
}

int sparc_follow_start(void)
{
	size_t i;
	int error;

	for_each_kernel_tracepoint(find, NULL);
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		error = -ENOENT;
		if (probes[i].point)
			error = tracepoint_probe_register(probes[i].point, probes[i].probe, NULL);
		if (error) {
			pr_err("cannot follow %s: %d\n", probes[i].name, error);
			sparc_follow_stop();
			return error;
		}
		probes[i].registered = true;
	}
	return 0;
}

void sparc_follow_stop(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		if (probes[i].registered)
			tracepoint_probe_unregister(probes[i].point, probes[i].probe, NULL);
		probes[i].registered = false;
	}
	tracepoint_synchronize_unregister();
}
