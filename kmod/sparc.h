/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the module share. Which file has what: README.md. */
#ifndef SPARC_H
#define SPARC_H

#include <linux/atomic.h>
#include <linux/hashtable.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "sparc_abi.h"

/* members.c: who is excluded */

/* A thread group. Its struct pid outlives it, so a reused number is never mistaken for it. */
struct sparc_member {
	struct hlist_node node;
	struct pid *pid;
	u32 flags;		/* SPARC_MEMORY_ONLY, SPARC_WITH_DISPLAY; children get them too */
};

/*
 * An address space of the set. It is known from its first use until it is taken
 * down, which may be long after its last process has ended.
 */
struct sparc_space {
	struct hlist_node node;
	struct mm_struct *mm;
};

#define SPARC_HASH_BITS 8
extern DECLARE_HASHTABLE(sparc_members, SPARC_HASH_BITS);
extern DECLARE_HASHTABLE(sparc_spaces, SPARC_HASH_BITS);

/* For those who have stopped all CPUs. */
struct sparc_member *sparc_member_find(struct pid *pid);
struct sparc_space *sparc_space_find(struct mm_struct *mm);
void sparc_member_add(struct sparc_member *member, struct task_struct *leader, u32 flags);
void sparc_member_remove(struct sparc_member *member);
void sparc_space_add(struct sparc_space *space, struct mm_struct *mm);
bool sparc_is_space(struct mm_struct *mm);

void sparc_members_free(struct hlist_head *list);
void sparc_spaces_free(struct hlist_head *spaces);
u32 sparc_list(struct sparc_process *processes, u32 capacity);
bool sparc_is_member(struct task_struct *task);
bool sparc_member_flags(struct task_struct *task, u32 *flags);
bool sparc_set_incomplete(void);
void sparc_set_joined(struct task_struct *leader, u32 flags);
void sparc_set_new_space(struct mm_struct *mm);
void sparc_set_left(struct task_struct *task);
void sparc_set_prune(void);
void sparc_set_forget(void);
unsigned long sparc_set_swapped(void);

/* change.c: taking in and letting out */

int sparc_exclude(struct sparc_target *target);
int sparc_include(struct sparc_target *target);

/* follow.c: forks, execs and exits of the set */

int sparc_follow_start(void);
void sparc_follow_stop(void);

/* mailbox.c: the page that the host reads, and the memory of the manifest */

struct sparc_run {
	void *base;		/* vmalloc()ed, user-mappable */
	u64 capacity;		/* bytes */
	unsigned long *drop;
	unsigned long *stash;
	struct sparc_extent *extents;
	u32 max_extents;
	u32 max_processes;
	unsigned long ram_pages;
};

extern struct sparc_mailbox *sparc_mailbox;
extern struct sparc_run sparc_run;

int sparc_mailbox_make(void);
void sparc_mailbox_remove(void);
void sparc_mailbox_wipe(void);
void sparc_mailbox_wipe_stale(void *page);
void sparc_mailbox_members(u32 members, bool armed);
void sparc_mailbox_status(u32 sequence, u32 state, u32 reason, s32 pid, const char *comm);
void sparc_mailbox_publish(void);
void sparc_canary_fill(void);
bool sparc_canary_gone(void);

/* collect.c: what is to be kept out, counted with all CPUs stopped */

/* A swap slot that a space of the set refers to; shared: so does an outsider. */
struct sparc_slot {
	unsigned long number;
	bool shared;
};

/* What is to be done about an object whose contents are zeros. See objects.c. */
struct sparc_remedy {
	void (*stopped)(void *object);	/* first, all CPUs stopped: takes hold of it */
	void (*mend)(void *object);	/* then, in the service: may sleep, lets it go; or NULL */
};

struct sparc_object {
	void *object;
	const struct sparc_remedy *remedy;
};

struct sparc_collection {
	/* in */
	u32 sequence;
	bool must_be_frozen;
	/* out, when it could not be done */
	u32 reason;
	s32 reason_pid;
	char reason_comm[SPARC_COMM_LEN];
	u64 ns;
	u32 retries;
	/* on the way */
	struct sparc_manifest *manifest;
	bool outside;		/* walking a space that is not of the set */
	bool in_motion;		/* a page is being migrated */
	bool beyond;		/* a page past the bitmaps' end: memory was added */
	struct sparc_slot *slots;
	u32 slots_used;
	u32 slots_size;
	struct sparc_object *objects;	/* a hash table, in part empty */
	u32 objects_used;
	u32 objects_size;	/* a power of two */
	bool objects_short;
};

int sparc_collect_begin(struct sparc_collection *collection);
void sparc_collect_end(struct sparc_collection *collection);
int sparc_collect_stopped(struct sparc_collection *collection);
int sparc_collect_dry(struct sparc_collection *collection);
int sparc_collect_blame(struct sparc_collection *collection, u32 reason, struct task_struct *task);

/* extents.c: pages, and parts of them */

int sparc_extent(struct sparc_manifest *manifest, void *address, size_t length, u32 kind);
int sparc_part(struct sparc_collection *collection, struct page *page, size_t offset,
	       size_t length, u32 kind);
int sparc_pages(struct sparc_collection *collection, unsigned long pfn, unsigned long count,
		u32 kind);
void sparc_extents_finish(struct sparc_manifest *manifest);

/* objects.c: what a count has met, and what is to be done about it in a restored machine */

int sparc_objects_begin(struct sparc_collection *collection);
void sparc_objects_end(struct sparc_collection *collection);
void sparc_objects_clear(struct sparc_collection *collection);
int sparc_object(struct sparc_collection *collection, void *object,
		 const struct sparc_remedy *remedy);
bool sparc_object_met(struct sparc_collection *collection, void *object);
void sparc_objects_stopped(struct sparc_collection *collection);
void sparc_objects_mend(struct sparc_collection *collection);

/*
 * descriptors.c, files.c, pipes.c, sockets.c, terminals.c, leftovers.c: what a process left in
 * the kernel. Below 0: the count is to be given up.
 */

int sparc_open_file(struct sparc_collection *collection, struct file *file);
int sparc_descriptors(struct sparc_collection *collection, struct task_struct *task);
int sparc_files_begin(struct sparc_collection *collection);
int sparc_file(struct sparc_collection *collection, struct file *file);
int sparc_mapped_files(struct sparc_collection *collection, struct mm_struct *mm);
int sparc_touched_files(struct sparc_collection *collection);
int sparc_files_keep(int fd);
void sparc_files_keep_none(void);
int sparc_files_watch(void);
int sparc_files_adopt(void);
int sparc_files_start(void);
void sparc_files_stop(void);
int sparc_pipe(struct sparc_collection *collection, struct file *file);
int sparc_socket(struct sparc_collection *collection, struct file *file);
int sparc_sockets_begin(struct sparc_collection *collection);
void sparc_sockets_end(void);
void sparc_sockets_clear(void);
int sparc_sockets_finish(struct sparc_collection *collection);
int sparc_terminal_file(struct sparc_collection *collection, struct file *file);
int sparc_terminal_of(struct sparc_collection *collection, struct task_struct *task);
int sparc_terminals_known(struct sparc_collection *collection);
void sparc_terminal_note(struct file *file);
void sparc_terminal_note_own(void);
void sparc_terminals_forget(bool all);
int sparc_leftovers(struct sparc_collection *collection, struct task_struct *task);
int sparc_stacks(struct sparc_collection *collection, struct task_struct *task);
void sparc_stacks_start(void);
void sparc_stacks_forget(void);
int sparc_signals(struct sparc_collection *collection, struct task_struct *task);
int sparc_keys(struct sparc_collection *collection, struct task_struct *task);

/* discipline.c, consoles.c: parts of terminals */

struct tty_struct;
int sparc_discipline_start(void);
int sparc_discipline(struct sparc_collection *collection, struct tty_struct *tty);
void sparc_discipline_renew(struct tty_struct *tty);
void sparc_console_written(struct tty_struct *tty);
int sparc_console(struct sparc_collection *collection, struct tty_struct *tty);
int sparc_display(struct sparc_collection *collection, bool wanted);

/* tables.c, free.c, swap.c, registers.c: each finds one kind of memory */

void sparc_tables_walk(struct sparc_collection *collection, struct mm_struct *mm);
void sparc_free_pages(struct sparc_collection *collection);

/* bounce.c; the second with all CPUs running, as it looks for devices. */
#ifdef CONFIG_SWIOTLB
int sparc_bounce(struct sparc_collection *collection);
void sparc_bounce_begin(void);
/* Is it a bounce buffer? If so, what that stands for, or 0 if it is not in use. */
bool sparc_bounced(phys_addr_t address, phys_addr_t *origin);
#else
static inline int sparc_bounce(struct sparc_collection *collection)
{
	return 0;
}

static inline void sparc_bounce_begin(void)
{
}

static inline bool sparc_bounced(phys_addr_t address, phys_addr_t *origin)
{
	return false;
}
#endif
void sparc_free_sweep(void);
void sparc_swap_note(struct sparc_collection *collection, unsigned long number);
void sparc_swap_sort(struct sparc_collection *collection);
void sparc_swap_cache(struct sparc_collection *collection);
int sparc_registers(struct sparc_manifest *manifest, struct task_struct *task);
void sparc_registers_scrub(void);
void sparc_registers_forget(void);

/* scrub.c: clearing what the kernel frees */

int sparc_scrub_start(bool excluding);
void sparc_scrub_stop(void);
bool sparc_scrub_everybody(void);

/* park.c: holding the guest still */

int sparc_park(struct sparc_park *park);
int sparc_park_fail(const struct sparc_fail *fail);
int sparc_poll_start(void);
void sparc_poll_stop(void);
void sparc_poll_wake(void);
void sparc_park_orphaned(void);
bool sparc_park_abandoned(u32 sequence);

/* stalls.c: while the guest is held still */
bool sparc_stalls_hide(void);
void sparc_stalls_show(void);
void sparc_stalls_stop(void);

/* events.c: what the service reads */

void sparc_event(u32 type, u32 sequence, s32 pid, const char *comm);
bool sparc_events_waiting(void);
bool sparc_events_next(struct sparc_event *event);
void sparc_events_clear(void);
extern struct wait_queue_head sparc_events_wait;

/* thaw.c: letting processes go when the service no longer can */

int sparc_thaw_note(int fd);
void sparc_thaw_forget(void);
void sparc_thaw_all(void);

/* device.c */

int sparc_device_make(void);
void sparc_device_remove(void);

/* opener.c: the service */

bool sparc_has_opener(void);
bool sparc_is_opener(struct task_struct *task);
int sparc_opener_set(struct task_struct *task);
void sparc_opener_clear(void);

#endif
