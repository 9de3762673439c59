// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Taking processes into the set, and letting them out: with all CPUs stopped, so
 * that no fork falls between finding a process and noting it. A space that is
 * shared by clone(CLONE_VM) or vfork() takes all that share it along: none could
 * live on without it.
 */
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>

#include "sparc.h"

/* Nodes made beforehand, for use where nothing can be allocated. */
struct change {
	struct sparc_target *target;
	struct pid *pid;
	struct hlist_head spare_members;
	struct hlist_head spare_spaces;
	struct hlist_head gone_members;
	struct hlist_head gone_spaces;
};

/* The space of a thread group, whichever of its threads still has it. */
static struct mm_struct *group_mm(struct task_struct *leader)
{
	struct task_struct *thread;

	for_each_thread(leader, thread)
		if (thread->mm && !(thread->flags & PF_KTHREAD))
			return thread->mm;
	return NULL;
}

/* Still to come past the exit tracepoint, which takes it out again. */
static bool is_alive(struct task_struct *leader)
{
	return !(leader->flags & PF_KTHREAD) && atomic_read(&leader->signal->live) &&
	       group_mm(leader);
}

static bool is_descendant(struct change *change, struct task_struct *task)
{
	/* All but the first task of all, which is nobody's child, come from init. */
	while (task_pid_nr(task) > 1) {
		task = rcu_dereference_raw(task->real_parent);
		if (task_tgid(task) == change->pid)
			return true;
	}
	return false;
}

static int take(struct change *change, struct task_struct *leader, struct mm_struct *mm)
{
	struct sparc_target *target = change->target;
	struct sparc_member *member;
	struct sparc_space *space;

	member = hlist_entry_safe(change->spare_members.first, struct sparc_member, node);
	space = hlist_entry_safe(change->spare_spaces.first, struct sparc_space, node);
	if (!member || !space)
		return -EAGAIN;
	hlist_del_init(&member->node);
	sparc_member_add(member, leader, target->flags);
	target->processes++;
	if (!sparc_space_find(mm)) {
		hlist_del_init(&space->node);
		sparc_space_add(space, mm);
		target->swap_pages += get_mm_counter(mm, MM_SWAPENTS);
		target->shmem_pages += get_mm_counter(mm, MM_SHMEMPAGES);
	}
	return 0;
}

/* It is in the set already: it may be asked for more than before, not for less. */
static void add_to(struct sparc_member *member, u32 flags)
{
	if (!(flags & SPARC_MEMORY_ONLY))
		member->flags &= ~SPARC_MEMORY_ONLY;
	member->flags |= flags & SPARC_WITH_DISPLAY;
}

/* One more process that belongs to the set for another one's sake. */
static int take_related(struct change *change, struct task_struct *leader, bool *changed)
{
	struct sparc_member *member;
	struct mm_struct *mm;
	bool shares;

	if (!is_alive(leader))
		return 0;
	member = sparc_member_find(task_tgid(leader));
	if (member) {
		if ((change->target->flags & SPARC_WITH_DESCENDANTS) &&
		    is_descendant(change, leader))
			add_to(member, change->target->flags);
		return 0;
	}
	mm = group_mm(leader);
	shares = sparc_space_find(mm);
	if (!shares) {
		if (!(change->target->flags & SPARC_WITH_DESCENDANTS) ||
		    !is_descendant(change, leader) || sparc_is_opener(leader))
			return 0;
	} else if (is_global_init(leader) || sparc_is_opener(leader)) {
		return -EBUSY;
	}
	*changed = true;
	if (shares)
		change->target->sharers++;
	return take(change, leader, mm);
}

static int exclude_stopped(void *data)
{
	struct change *change = data;
	struct task_struct *leader = pid_task(change->pid, PIDTYPE_TGID);
	struct sparc_member *member;
	bool changed = true;
	int error;

	if (!leader)
		return -ESRCH;
	if ((leader->flags & PF_KTHREAD) || is_global_init(leader) || sparc_is_opener(leader))
		return -EPERM;
	if (!is_alive(leader))
		return -ESRCH;
	member = sparc_member_find(change->pid);
	if (member) {
		add_to(member, change->target->flags);
	} else {
		error = take(change, leader, group_mm(leader));
		if (error)
			return error;
	}
	while (changed) {
		changed = false;
		for_each_process(leader) {
			error = take_related(change, leader, &changed);
			if (error)
				return error;
		}
	}
	return 0;
}

static void let_go(struct change *change, struct sparc_member *member)
{
	sparc_member_remove(member);
	hlist_add_head(&member->node, &change->gone_members);
	change->target->processes++;
}

static bool goes_along(struct change *change, struct task_struct *leader)
{
	struct mm_struct *mm = group_mm(leader);
	struct sparc_member *gone;
	struct task_struct *other;

	hlist_for_each_entry(gone, &change->gone_members, node) {
		if ((change->target->flags & SPARC_WITH_DESCENDANTS) &&
		    task_tgid(rcu_dereference_raw(leader->real_parent)) == gone->pid)
			return true;
		other = pid_task(gone->pid, PIDTYPE_TGID);
		if (mm && other && group_mm(other) == mm)
			return true;
	}
	return false;
}

/* Spaces that are alive and that no member has any more. */
static void let_spaces_go(struct change *change)
{
	struct task_struct *leader;
	struct sparc_space *space;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(sparc_spaces, bucket, next, space, node) {
		bool used = !atomic_read(&space->mm->mm_users);

		for_each_process(leader)
			if (sparc_member_find(task_tgid(leader)) && group_mm(leader) == space->mm)
				used = true;
		if (used)
			continue;
		hash_del(&space->node);
		hlist_add_head(&space->node, &change->gone_spaces);
	}
}

static int include_stopped(void *data)
{
	struct change *change = data;
	struct sparc_member *member = sparc_member_find(change->pid);
	struct task_struct *leader;
	bool changed = true;

	if (!member)
		return -ESRCH;
	let_go(change, member);
	while (changed) {
		changed = false;
		for_each_process(leader) {
			member = sparc_member_find(task_tgid(leader));
			if (!member || !goes_along(change, leader))
				continue;
			let_go(change, member);
			changed = true;
		}
	}
	let_spaces_go(change);
	return 0;
}

/* ---------------------------------------------------- and from the device */

static int make_spares(struct change *change, unsigned int count)
{
	while (count--) {
		struct sparc_member *member = kmalloc(sizeof(*member), GFP_KERNEL);
		struct sparc_space *space = kmalloc(sizeof(*space), GFP_KERNEL);

		if (!member || !space) {
			kfree(member);
			kfree(space);
			return -ENOMEM;
		}
		hlist_add_head(&member->node, &change->spare_members);
		hlist_add_head(&space->node, &change->spare_spaces);
	}
	return 0;
}

static void free_spares(struct change *change)
{
	struct sparc_member *member;
	struct sparc_space *space;
	struct hlist_node *next;

	hlist_for_each_entry_safe(member, next, &change->spare_members, node)
		kfree(member);
	hlist_for_each_entry_safe(space, next, &change->spare_spaces, node)
		kfree(space);
}

static void begin(struct change *change, struct sparc_target *target)
{
	memset(change, 0, sizeof(*change));
	change->target = target;
	change->pid = find_get_pid(target->pid);
	target->processes = 0;
	target->sharers = 0;
	target->swap_pages = 0;
	target->shmem_pages = 0;
}

/* While others come and go. */
static bool is_member(struct pid *pid)
{
	struct task_struct *task;
	bool found;

	rcu_read_lock();
	task = pid_task(pid, PIDTYPE_TGID);
	found = task && sparc_is_member(task);
	rcu_read_unlock();
	return found;
}

/*
 * -ESRCH no such process; -EPERM a kernel thread, init or the service; -EBUSY init or
 * the service shares its memory at the moment (vfork): ask again. Others: what the kernel frees
 * cannot be cleared, or there is no memory.
 */
int sparc_exclude(struct sparc_target *target)
{
	struct change change;
	unsigned int spares = 32;
	bool was_member;
	int error;

	begin(&change, target);
	if (!change.pid)
		return -ESRCH;
	was_member = is_member(change.pid);
	error = sparc_scrub_start(true);
	if (error && !(target->flags & SPARC_MEMORY_ONLY)) {
		put_pid(change.pid);
		return error;
	}
	do {
		error = make_spares(&change, spares);
		spares *= 2;
		if (!error)
			error = stop_machine(exclude_stopped, &change, NULL);
	} while (error == -EAGAIN);
	if (error && !was_member && !stop_machine(include_stopped, &change, NULL)) {
		sparc_spaces_free(&change.gone_spaces);
		sparc_members_free(&change.gone_members);
	}
	free_spares(&change);
	put_pid(change.pid);
	return error;
}

int sparc_include(struct sparc_target *target)
{
	struct change change;
	int error;

	begin(&change, target);
	if (!change.pid)
		return -ESRCH;
	error = stop_machine(include_stopped, &change, NULL);
	put_pid(change.pid);
	if (error)
		return error;
	sparc_spaces_free(&change.gone_spaces);
	sparc_members_free(&change.gone_members);
	return 0;
}
