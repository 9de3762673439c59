// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counts what is to be kept out, while all CPUs are stopped: no spinlock can be
 * held then, so lists and page tables are as their locks guarantee them. What a
 * sleeping lock guards may be half done; there the count is given up and tried again.
 *
 * First every page of the set is marked, then the marks of those are taken
 * back that a process outside maps too. Such a page was not written by
 * the set since the fork that shared it.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/rwsem.h>
#include <linux/sched/signal.h>
#include <linux/stop_machine.h>
#include <linux/timekeeping.h>
#include <linux/delay.h>

#include "compat.h"
#include "sparc.h"

#define DRY_RETRIES 50
#define RETRY_MS 20

int sparc_collect_blame(struct sparc_collection *collection, u32 reason, struct task_struct *task)
{
	collection->reason = reason;
	collection->reason_pid = task ? task_tgid_nr(task) : 0;
	memset(collection->reason_comm, 0, sizeof(collection->reason_comm));
	if (task)
		strscpy_pad(collection->reason_comm, task->comm, sizeof(collection->reason_comm));
	return -EAGAIN;
}

/* Does the task stand where its memory and registers are at rest? */
static bool at_rest(struct task_struct *task)
{
	return task->frozen || task->exit_state;
}

static int check_task(struct sparc_collection *collection, struct task_struct *task)
{
	struct mm_struct *mm = task->mm;

	if (is_global_init(task) || sparc_is_opener(task))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, task);
	/* It is in the middle of an exec: nobody has told us of its new space yet. */
	if (mm && !sparc_is_space(mm))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, task);
	if (collection->must_be_frozen && !at_rest(task))
		return sparc_collect_blame(collection, task->flags & PF_EXITING ?
					   SPARC_REASON_BUSY : SPARC_REASON_FREEZE, task);
	return 0;
}

static bool is_of_set(struct task_struct *task)
{
	if (task->flags & PF_KTHREAD)
		return false;
	return (task->mm && sparc_is_space(task->mm)) || sparc_is_member(task);
}

static int collect_tasks(struct sparc_collection *collection)
{
	struct task_struct *leader, *task;
	int error;

	for_each_process_thread(leader, task) {
		if (!is_of_set(task))
			continue;
		error = check_task(collection, task);
		if (!error)
			error = sparc_registers(collection->manifest, task);
		if (error)
			return error;
	}
	return 0;
}

static int collect_spaces(struct sparc_collection *collection)
{
	struct sparc_space *space;
	int bucket;

	collection->outside = false;
	hash_for_each(sparc_spaces, bucket, space, node) {
		/* Its mappings are changed: pages may be in nobody's hands. */
		if (rwsem_is_locked(&space->mm->mmap_lock))
			return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
		if (!atomic_read(&space->mm->mm_users)) {
			if (rcu_access_pointer(space->mm->exe_file))
				return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
			continue;
		}
		sparc_tables_walk(collection, space->mm);
	}
	if (collection->in_motion)
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	return 0;
}

static void spare_outsiders(struct sparc_collection *collection)
{
	struct task_struct *leader, *task;

	collection->outside = true;
	for_each_process(leader) {
		struct mm_struct *before = NULL;

		for_each_thread(leader, task) {
			if (!task->mm || task->mm == before || (task->flags & PF_KTHREAD))
				continue;
			before = task->mm;
			if (!sparc_is_space(before))
				sparc_tables_walk(collection, before);
		}
	}
}

/* The list comes after the extents, on a page of its own. */
static int list_processes(struct sparc_collection *collection)
{
	struct sparc_manifest *manifest = collection->manifest;
	u64 start = (void *)sparc_run.extents - sparc_run.base +
		    SPARC_ALIGN(manifest->extents * sizeof(struct sparc_extent));
	struct sparc_process *processes = sparc_run.base + start;

	/* What rounding leaves behind the last extent may be of an earlier count. */
	memset(&sparc_run.extents[manifest->extents], 0,
	       (void *)processes - (void *)&sparc_run.extents[manifest->extents]);
	manifest->processes = sparc_list(processes, sparc_run.max_processes);
	if (manifest->processes > sparc_run.max_processes)
		return -ENOSPC;
	manifest->run_bytes = start + manifest->processes * sizeof(*processes);
	return 0;
}

/* What one task left in the kernel. */
static int collect_task(struct sparc_collection *collection, struct task_struct *task)
{
	int error = sparc_descriptors(collection, task);

	if (!error)
		error = sparc_terminal_of(collection, task);
	if (!error && task->mm)
		error = sparc_mapped_files(collection, task->mm);
	if (!error)
		error = sparc_leftovers(collection, task);
	return error;
}

static int collect_kernel(struct sparc_collection *collection)
{
	struct task_struct *leader, *task;
	bool display = false, memory_only = false, kernel = false;
	int error;

	for_each_process_thread(leader, task) {
		u32 flags;

		if (!is_of_set(task))
			continue;
		if (!sparc_member_flags(task, &flags))
			flags = 0;
		display |= flags & SPARC_WITH_DISPLAY;
		if (flags & SPARC_MEMORY_ONLY) {
			memory_only = true;
			continue;
		}
		kernel = true;
		error = collect_task(collection, task);
		if (error)
			return error;
	}
	error = sparc_terminals_known(collection);
	if (!error)
		error = sparc_display(collection, display);
	/* What is on its way to others outlives those who sent it. */
	if (!error && (kernel || !memory_only))
		error = sparc_sockets_finish(collection);
	return error ?: sparc_touched_files(collection);
}

static int collect(struct sparc_collection *collection)
{
	struct sparc_manifest *manifest = collection->manifest;
	int error;

	error = collect_tasks(collection);
	if (!error)
		error = collect_spaces(collection);
	if (error)
		return error;
	if (collection->slots_used > collection->slots_size)
		return sparc_collect_blame(collection, SPARC_REASON_SWAP, NULL);
	sparc_swap_sort(collection);
	spare_outsiders(collection);
	sparc_swap_cache(collection);
	manifest->stash_pages = bitmap_weight(sparc_run.stash, sparc_run.ram_pages);
	manifest->kind_pages[SPARC_KIND_ANON] =
		manifest->stash_pages - manifest->kind_pages[SPARC_KIND_SWAP_CACHE];
	error = collect_kernel(collection);
	if (!error)
		error = sparc_bounce(collection);
	if (error)
		return error;
	sparc_free_pages(collection);
	if (collection->beyond)
		return -ENOSPC;
	sparc_extents_finish(manifest);
	return list_processes(collection);
}

/*
 * With all CPUs stopped. 0: the manifest is in the mailbox; -EAGAIN: something was in
 * motion, try again when the CPUs have run; other errors are final. See reason.
 */
int sparc_collect_stopped(struct sparc_collection *collection)
{
	u64 start = ktime_get_mono_fast_ns();
	u64 bitmap = (void *)sparc_run.stash - (void *)sparc_run.drop;
	int error;

	collection->manifest = &sparc_mailbox->manifest;
	collection->in_motion = false;
	collection->beyond = false;
	collection->slots_used = 0;
	memset(collection->manifest, 0, sizeof(*collection->manifest));
	memset(sparc_run.base, 0, 2 * bitmap);
	sparc_objects_clear(collection);
	sparc_sockets_clear();
	collection->manifest->sequence = collection->sequence;
	error = collect(collection);
	if (error == -ENOSPC)
		sparc_collect_blame(collection, SPARC_REASON_NO_ROOM, NULL);
	if (!error) {
		collection->reason = SPARC_REASON_NONE;
		sparc_mailbox_publish();
	}
	collection->ns = ktime_get_mono_fast_ns() - start;
	return error;
}

/* Before each try, with all CPUs running: what the try will need, and cannot get. */
int sparc_collect_begin(struct sparc_collection *collection)
{
	u32 slots = sparc_set_swapped() + 256;
	int error = sparc_objects_begin(collection);

	if (error) {
		sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
		return error;
	}

	/* Frees that wait for RCU come to their end, and with them what they free. */
	sparc_kvfree_rcu_barrier();
	rcu_barrier();
	sparc_set_prune();
	if (slots > collection->slots_size) {
		kvfree(collection->slots);
		collection->slots = kvmalloc_array(slots, sizeof(*collection->slots), GFP_KERNEL);
		collection->slots_size = collection->slots ? slots : 0;
		if (!collection->slots) {
			sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
			return -ENOMEM;
		}
	}
	sparc_bounce_begin();
	error = sparc_sockets_begin(collection);
	return error ?: sparc_files_begin(collection);
}

void sparc_collect_end(struct sparc_collection *collection)
{
	kvfree(collection->slots);
	collection->slots = NULL;
	collection->slots_size = 0;
	sparc_objects_end(collection);
	sparc_sockets_end();
}

static int dry_stopped(void *data)
{
	struct sparc_collection *collection = data;

	/* One call on each CPU; the first one counts, when the others have drained. */
	sparc_drain_lru();
	if (smp_processor_id() != cpumask_first(cpu_online_mask))
		return 0;
	return sparc_collect_stopped(collection);
}

/* What would be kept out now; nothing need be frozen for it. */
int sparc_collect_dry(struct sparc_collection *collection)
{
	int error;

	do {
		error = sparc_collect_begin(collection);
		if (!error)
			error = stop_machine(dry_stopped, collection, cpu_online_mask);
		if (error == -EAGAIN)
			msleep(RETRY_MS);
	} while (error == -EAGAIN && ++collection->retries < DRY_RETRIES);
	sparc_collect_end(collection);
	return error;
}
