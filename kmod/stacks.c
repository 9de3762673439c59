// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Kernel stacks: below a sleeping thread's stack pointer lies what its earlier calls left,
 * arguments and copies of what programs passed in. What lies above it is in use.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <asm/unwind.h>

#include "compat.h"
#include "sparc.h"

/* No task runs but those that stop the CPUs: every other one has saved its pointer. */
static int below(struct sparc_collection *collection, struct task_struct *task)
{
	unsigned long *end;

	/* A thread that has ended may have no stack any more. */
	if (!refcount_read(&task->stack_refcount) || sparc_on_cpu(task))
		return 0;
	/* Its last word is the mark that tells an overflow. */
	end = end_of_stack(task) + 1;
	if (task->thread.sp - (unsigned long)end >= THREAD_SIZE)
		return 0;
	return sparc_extent(collection->manifest, end, task->thread.sp - (unsigned long)end,
			    SPARC_KIND_OTHER);
}

struct function {
	const char *name;
	unsigned long at, size;
};

static struct function waits_in = { .name = "get_signal" }, ends_in = { .name = "do_exit" };

/* Where on the task's stack the frames of the function's callers begin; NULL if it has none. */
static void *callers(struct task_struct *task, const struct function *function)
{
	struct unwind_state state;
	bool inside = false;

	for (unwind_start(&state, task, NULL, NULL); !unwind_done(&state);
	     unwind_next_frame(&state)) {
		void *sp = sparc_unwound(&state);

		if (unwind_get_return_address(&state) - function->at < function->size) {
			inside = true;
			continue;
		}
		if (inside)
			return sp > task_stack_page(task) && sp < (void *)task_pt_regs(task) ?
			       sp : NULL;
	}
	return NULL;
}

/*
 * A frozen thread waits in get_signal(). In a restored machine it is killed, and goes no further
 * up: what its callers have on the stack, and between them the room that the kernel leaves
 * at random in each call, is not used again.
 */
static int above(struct sparc_collection *collection, struct task_struct *task)
{
	void *sp;

	if (!refcount_read(&task->stack_refcount) || sparc_on_cpu(task) || !task->frozen ||
	    (task->flags & (PF_IO_WORKER | PF_KTHREAD)))
		return 0;
	sp = callers(task, &waits_in);
	if (!sp)
		return 0;
	return sparc_extent(collection->manifest, sp, (void *)task_pt_regs(task) - sp,
			    SPARC_KIND_OTHER);
}

static int nothing(struct kprobe *probe, struct pt_regs *regs)
{
	return 0;
}

static void locate(struct function *function)
{
	struct kprobe probe = { .symbol_name = function->name, .pre_handler = nothing };
	char name[KSYM_SYMBOL_LEN], *size;

	if (register_kprobe(&probe))
		return;
	function->at = (unsigned long)probe.addr;
	unregister_kprobe(&probe);
	/* "get_signal+0x0/0x6b0" */
	sprint_symbol(name, function->at);
	size = strchr(name, '/');
	if (!size || sscanf(size, "/0x%lx", &function->size) != 1)
		function->size = 0;
}

/* Those that are not found have no callers: frames in use stay as they are. */
void sparc_stacks_start(void)
{
	locate(&waits_in);
	locate(&ends_in);
}

/* Those that work for others, on what is others'. */
static int of_kernel(struct sparc_collection *collection)
{
	struct task_struct *leader, *task;
	int error = 0;

	for_each_process_thread(leader, task) {
		if (!(task->flags & PF_KTHREAD))
			continue;
		error = below(collection, task);
		if (error)
			return error;
	}
	return 0;
}

int sparc_stacks(struct sparc_collection *collection, struct task_struct *task)
{
	int error = sparc_object(collection, sparc_stacks, NULL);

	if (error > 0)
		error = of_kernel(collection);
	if (error >= 0)
		error = below(collection, task);
	return error ? error : above(collection, task);
}

/*
 * The current thread is ending: what called do_exit() goes on no more, and the room that the
 * kernel left at random above it may be where an earlier call, with less of it, was.
 */
static void forget_above(void)
{
	void *sp = callers(current, &ends_in);

	if (sp)
		memset(sp, 0, (void *)task_pt_regs(current) - sp);
}

/*
 * Clears what is below the current thread's frame. Interrupts would write there, and so
 * would a call.
 */
noinline void sparc_stacks_forget(void)
{
	unsigned long *end = end_of_stack(current) + 1;
	unsigned long flags, count;

	forget_above();
	local_irq_save(flags);
	count = (current_stack_pointer - (unsigned long)end) / sizeof(*end);
	asm volatile("rep stosq" : "+D"(end), "+c"(count) : "a"(0) : "memory");
	local_irq_restore(flags);
}
