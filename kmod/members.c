// SPDX-License-Identifier: GPL-2.0-or-later
/* Who is excluded: thread groups, and the address spaces they have or had. */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>

#include "sparc.h"

DEFINE_HASHTABLE(sparc_members, SPARC_HASH_BITS);
DEFINE_HASHTABLE(sparc_spaces, SPARC_HASH_BITS);
static DEFINE_SPINLOCK(set_lock);
static u32 members;
/* A child could not be noted: no checkpoint is clean until the set is empty. */
static bool incomplete;

struct sparc_member *sparc_member_find(struct pid *pid)
{
	struct sparc_member *member;

	hash_for_each_possible(sparc_members, member, node, (unsigned long)pid)
		if (member->pid == pid)
			return member;
	return NULL;
}

struct sparc_space *sparc_space_find(struct mm_struct *mm)
{
	struct sparc_space *space;

	hash_for_each_possible(sparc_spaces, space, node, (unsigned long)mm)
		if (space->mm == mm)
			return space;
	return NULL;
}

/* Whether it is a member, and the flags it was taken in with. */
bool sparc_member_flags(struct task_struct *task, u32 *flags)
{
	struct sparc_member *member;
	unsigned long irqs;

	if (!READ_ONCE(members))
		return false;
	spin_lock_irqsave(&set_lock, irqs);
	member = sparc_member_find(task_tgid(task));
	if (member)
		*flags = member->flags;
	spin_unlock_irqrestore(&set_lock, irqs);
	return member;
}

bool sparc_is_member(struct task_struct *task)
{
	u32 flags;

	return sparc_member_flags(task, &flags);
}

/* For callers that hold set_lock or have stopped all CPUs. */
bool sparc_is_space(struct mm_struct *mm)
{
	return sparc_space_find(mm);
}

bool sparc_set_incomplete(void)
{
	return READ_ONCE(incomplete);
}

void sparc_member_add(struct sparc_member *member, struct task_struct *leader, u32 flags)
{
	member->flags = flags & (SPARC_MEMORY_ONLY | SPARC_WITH_DISPLAY);
	member->pid = get_pid(task_tgid(leader));
	hash_add(sparc_members, &member->node, (unsigned long)member->pid);
	if (!members++)
		__module_get(THIS_MODULE);
	sparc_mailbox_members(members, true);
}

void sparc_member_remove(struct sparc_member *member)
{
	hash_del(&member->node);
	if (!--members) {
		incomplete = false;
		sparc_files_keep_none();
		module_put(THIS_MODULE);
	}
	sparc_mailbox_members(members, false);
}

void sparc_space_add(struct sparc_space *space, struct mm_struct *mm)
{
	mmgrab(mm);
	space->mm = mm;
	hash_add(sparc_spaces, &space->node, (unsigned long)mm);
}

/* From a tracepoint: nothing may sleep here. */
void sparc_set_new_space(struct mm_struct *mm)
{
	struct sparc_space *space;
	unsigned long flags;

	if (!mm)
		return;
	space = kmalloc(sizeof(*space), GFP_ATOMIC);
	spin_lock_irqsave(&set_lock, flags);
	if (!sparc_space_find(mm)) {
		if (space)
			sparc_space_add(space, mm);
		else
			incomplete = true;
		space = NULL;
	}
	spin_unlock_irqrestore(&set_lock, flags);
	kfree(space);
}

void sparc_set_joined(struct task_struct *leader, u32 with)
{
	struct sparc_member *member = kmalloc(sizeof(*member), GFP_ATOMIC);
	unsigned long flags;

	spin_lock_irqsave(&set_lock, flags);
	if (!sparc_member_find(task_tgid(leader))) {
		if (member)
			sparc_member_add(member, leader, with);
		else
			incomplete = true;
		member = NULL;
	}
	spin_unlock_irqrestore(&set_lock, flags);
	kfree(member);
	sparc_set_new_space(leader->mm);
}

/* Its space stays noted until it is taken down. */
void sparc_set_left(struct task_struct *task)
{
	struct sparc_member *member;
	unsigned long flags;

	spin_lock_irqsave(&set_lock, flags);
	member = sparc_member_find(task_tgid(task));
	if (member)
		sparc_member_remove(member);
	spin_unlock_irqrestore(&set_lock, flags);
	if (member) {
		put_pid(member->pid);
		kfree(member);
	}
}

/*
 * Taken down: its last user is gone, and so are its mappings. Clearing exe_file is
 * the first thing the kernel does after the mappings.
 */
static bool taken_down(struct mm_struct *mm)
{
	return !atomic_read(&mm->mm_users) && !rcu_access_pointer(mm->exe_file);
}

void sparc_spaces_free(struct hlist_head *spaces)
{
	struct sparc_space *space;
	struct hlist_node *next;

	hlist_for_each_entry_safe(space, next, spaces, node) {
		hlist_del(&space->node);
		mmdrop(space->mm);
		kfree(space);
	}
}

void sparc_members_free(struct hlist_head *list)
{
	struct sparc_member *member;
	struct hlist_node *next;

	hlist_for_each_entry_safe(member, next, list, node) {
		hlist_del(&member->node);
		put_pid(member->pid);
		kfree(member);
	}
}

/* Forget what is no more. */
void sparc_set_prune(void)
{
	HLIST_HEAD(gone);
	HLIST_HEAD(left);
	struct sparc_member *member;
	struct sparc_space *space;
	struct hlist_node *next;
	int bucket;

	spin_lock_irq(&set_lock);
	hash_for_each_safe(sparc_spaces, bucket, next, space, node) {
		if (!taken_down(space->mm))
			continue;
		hash_del(&space->node);
		hlist_add_head(&space->node, &gone);
	}
	hash_for_each_safe(sparc_members, bucket, next, member, node) {
		if (pid_has_task(member->pid, PIDTYPE_TGID))
			continue;
		sparc_member_remove(member);
		hlist_add_head(&member->node, &left);
	}
	spin_unlock_irq(&set_lock);
	sparc_spaces_free(&gone);
	sparc_members_free(&left);
}

/* At unloading: there are no members any more, but spaces may still be noted. */
void sparc_set_forget(void)
{
	HLIST_HEAD(gone);
	struct sparc_space *space;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(sparc_spaces, bucket, next, space, node) {
		hash_del(&space->node);
		hlist_add_head(&space->node, &gone);
	}
	sparc_spaces_free(&gone);
}

/* Pages of the set that are in swap. */
unsigned long sparc_set_swapped(void)
{
	struct sparc_space *space;
	unsigned long pages = 0;
	int bucket;

	spin_lock_irq(&set_lock);
	hash_for_each(sparc_spaces, bucket, space, node)
		pages += get_mm_counter(space->mm, MM_SWAPENTS);
	spin_unlock_irq(&set_lock);
	return pages;
}

/* How many there are; as many as fit are written to processes. */
u32 sparc_list(struct sparc_process *processes, u32 capacity)
{
	struct sparc_member *member;
	struct task_struct *task;
	unsigned long flags;
	u32 count = 0;
	int bucket;

	BUILD_BUG_ON(SPARC_PROCESS_MEMORY_ONLY != SPARC_MEMORY_ONLY);
	BUILD_BUG_ON(SPARC_PROCESS_DISPLAY != SPARC_WITH_DISPLAY);
	rcu_read_lock();
	spin_lock_irqsave(&set_lock, flags);
	hash_for_each(sparc_members, bucket, member, node) {
		if (count < capacity) {
			struct sparc_process *process = &processes[count];

			memset(process, 0, sizeof(*process));
			process->pid = pid_nr(member->pid);
			task = pid_task(member->pid, PIDTYPE_TGID);
			if (task)
				strscpy_pad(process->comm, task->comm, sizeof(process->comm));
			process->flags = member->flags;
			if (!task || (task->flags & PF_EXITING))
				process->flags |= SPARC_PROCESS_EXITING;
		}
		count++;
	}
	spin_unlock_irqrestore(&set_lock, flags);
	rcu_read_unlock();
	return count;
}
