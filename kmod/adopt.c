// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the set had open or mapped when it was excluded, and what it got by ways that are not
 * watched: found with all CPUs stopped, noted after.
 */
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/ipc.h>
#include <linux/ipc_namespace.h>
#include <linux/mm.h>
#include <linux/nsproxy.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>

#include "compat.h"
#include "sparc.h"
#include "touched.h"

struct found {
	struct file *file;
	bool written;
};

struct finding {
	struct found *found;
	u32 used;
	u32 size;
	bool more;
};

static void note(struct finding *finding, struct file *file, bool written)
{
	struct sparc_touched *known = sparc_touched_find(file->f_mapping->host);

	if (known && (known->written || !written))
		return;
	if (finding->used == finding->size) {
		finding->more = true;
		return;
	}
	finding->found[finding->used].file = get_file(file);
	finding->found[finding->used].written = written;
	finding->used++;
}

static void note_open(struct finding *finding, struct files_struct *files)
{
	struct fdtable *table = rcu_dereference_raw(files->fdt);
	unsigned int i;

	for (i = 0; i < table->max_fds; i++) {
		struct file *file = rcu_dereference_raw(table->fd[i]);

		if (file)
			sparc_terminal_note(file);
		if (file && sparc_is_file(file_inode(file)))
			note(finding, file, file->f_mode & FMODE_WRITE);
	}
}

static void note_mapped(struct finding *finding, struct mm_struct *mm)
{
	struct vm_area_struct *area;

	VMA_ITERATOR(areas, mm, 0);

	/* It is being changed: the count will not do either. */
	if (rwsem_is_locked(&mm->mmap_lock))
		return;
	for_each_vma(areas, area)
		if (area->vm_file && sparc_is_file(file_inode(area->vm_file)))
			note(finding, area->vm_file, sparc_area_writes(area));
}

/* The beginning of the kernel's own, which no header has; the same from 4.17 to 7.2. */
struct segment {
	struct kern_ipc_perm perm;
	struct file *file;
	unsigned long attached;
	unsigned long size;
	time64_t times[3];
	struct pid *creator;
	struct pid *last;
};

static bool is_wanted(struct pid *pid)
{
	struct task_struct *task = pid ? pid_task(pid, PIDTYPE_TGID) : NULL;
	u32 flags;

	return task && sparc_member_flags(task, &flags) && !(flags & SPARC_MEMORY_ONLY);
}

/* Shared memory that a process made or used, and may no longer have attached. */
static void note_segments(struct finding *finding, struct ipc_namespace *namespace)
{
#if defined(CONFIG_SYSVIPC) && !defined(CONFIG_RANDSTRUCT)
	struct kern_ipc_perm *perm;
	int id = 0;

	/* Semaphores, messages, shared memory: in this order. */
	for (; (perm = idr_get_next(&namespace->ids[2].ipcs_idr, &id)); id++) {
		struct segment *segment = container_of(perm, struct segment, perm);

		if (segment->file && (is_wanted(segment->creator) || is_wanted(segment->last)))
			note(finding, segment->file, true);
	}
#endif
}

static int find(void *data)
{
	struct finding *finding = data;
	struct ipc_namespace *namespace = NULL;
	struct task_struct *leader, *task;
	u32 flags;

	for_each_process_thread(leader, task) {
		if ((task->flags & PF_KTHREAD) || !sparc_member_flags(task, &flags) ||
		    (flags & SPARC_MEMORY_ONLY))
			continue;
		if (task->files)
			note_open(finding, task->files);
		if (task->mm && task == leader)
			note_mapped(finding, task->mm);
		if (task->nsproxy && task->nsproxy->ipc_ns != namespace) {
			namespace = task->nsproxy->ipc_ns;
			note_segments(finding, namespace);
		}
	}
	return 0;
}

static int keep(struct finding *finding)
{
	int error = 0;
	u32 i;

	for (i = 0; i < finding->used; i++) {
		struct found *found = &finding->found[i];

		if (!error)
			error = sparc_touch(found->file, found->written);
		fput(found->file);
	}
	return error;
}

int sparc_files_adopt(void)
{
	struct finding finding = { .size = 1024 };
	int error;

	do {
		finding.used = 0;
		finding.more = false;
		finding.found = kvmalloc_array(finding.size, sizeof(*finding.found), GFP_KERNEL);
		if (!finding.found)
			return -ENOMEM;
		error = stop_machine(find, &finding, NULL);
		if (!error)
			error = keep(&finding);
		kvfree(finding.found);
		finding.size *= 2;
	} while (!error && finding.more);
	return error;
}
