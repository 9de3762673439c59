/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * As much of a kernel as park.c and mailbox.c of the module need to run in a test: one CPU, one
 * excluded process, and RAM of a few pages. Whatever waits or stops there comes to world.h.
 */
#ifndef SPARC_MODEL_KERNEL_H
#define SPARC_MODEL_KERNEL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/* The module's own headers are full of the kernel; what is needed of them stands below. */
#define SPARC_H
#define SPARC_COMPAT_H
#define pr_err(...)	((void)0)

typedef uint8_t u8;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
#include "../../../../kmod/sparc_abi.h"

#define READ_ONCE(x)			__atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define WRITE_ONCE(x, value)		__atomic_store_n(&(x), (value), __ATOMIC_SEQ_CST)
#define smp_store_release(x, value)	__atomic_store_n((x), (value), __ATOMIC_RELEASE)
#define smp_load_acquire(x)		__atomic_load_n((x), __ATOMIC_ACQUIRE)
/* Another one may come in where the order of two accesses matters. */
#define smp_rmb()			world_point()
#define smp_wmb()			world_point()

#define module_param(name, type, mode)	struct module_param_##name
#define MODULE_PARM_DESC(name, text)	struct module_parm_desc_##name
#define BUILD_BUG_ON(condition)		_Static_assert(!(condition), "")
#define PAGE_SIZE			4096
#define PAGE_SHIFT			12
#define DIV_ROUND_UP(a, b)		(((a) + (b) - 1) / (b))
#define PTR_ERR_OR_ZERO(pointer)	((pointer) ? 0 : -ENOMEM)
#define max(a, b)			((a) > (b) ? (a) : (b))
#define clamp(value, low, high)		\
	((value) < (low) ? (low) : (value) > (high) ? (high) : (value))

/* Mutexes: nobody here waits for one while he has another. */
struct mutex {
	bool held;
};

#define DEFINE_MUTEX(name)		struct mutex name

static inline int mutex_trylock(struct mutex *mutex)
{
	if (mutex->held)
		return 0;
	return mutex->held = true;
}

static inline void mutex_lock(struct mutex *mutex)
{
	while (!mutex_trylock(mutex))
		world_wait();
}

static inline void mutex_unlock(struct mutex *mutex)
{
	mutex->held = false;
}

/* Time and waiting. */
#define DECLARE_WAIT_QUEUE_HEAD(name)			int name __attribute__((unused))
#define wait_event_interruptible(queue, condition)	\
	do {						\
		while (!(condition))			\
			world_wait();			\
	} while (0)
#define wake_up_interruptible(queue)			((void)0)
#define msecs_to_jiffies(ms)				(ms)
#define schedule_timeout_interruptible(jiffies)		world_wait()
#define msleep(ms)					world_wait()
#define cpu_relax()					world_wait()
#define touch_nmi_watchdog()				((void)0)
#define touch_softlockup_watchdog()			((void)0)

/* One CPU. */
typedef struct {
	int counter;
} atomic_t;

#define atomic_set(atomic, value)	((atomic)->counter = (value))
#define atomic_read(atomic)		((atomic)->counter)
#define atomic_inc(atomic)		((atomic)->counter++)
#define num_online_cpus()		1
#define smp_processor_id()		0
#define cpumask_first(mask)		0
#define cpu_online_mask			NULL

static inline void stop_machine(int (*function)(void *data), void *data, const void *cpus)
{
	(void)cpus;
	world.stopped = true;
	function(data);
	world.stopped = false;
}

/* Tasks: the excluded one. */
struct task_struct {
	unsigned int flags;
	void *mm;
	char comm[SPARC_COMM_LEN];
};

struct pid;
extern struct task_struct excluded_task;

#define PF_KTHREAD			1u
#define SIGKILL				9
#define SEND_SIG_PRIV			NULL
#define PIDTYPE_PID			0
#define is_global_init(task)		false
#define for_each_process(task)		\
	for ((task) = world.excluded ? &excluded_task : NULL; (task); (task) = NULL)
#define for_each_thread(leader, task)	for ((task) = (leader); (task); (task) = NULL)
#define send_sig_info(signal, info, task)	(world.killed = true, 0)
#define sparc_is_member(task)		true
#define sparc_is_space(mm)		false
#define find_get_pid(number)		((struct pid *)NULL)
#define pid_task(pid, type)		((struct task_struct *)NULL)
#define pid_nr(pid)			0
#define put_pid(pid)			((void)(pid))
#define rcu_read_lock()			((void)0)
#define rcu_read_unlock()		((void)0)
#define strscpy_pad(to, from, size)	memcpy(to, from, size)

#define kthread_run(function, data, name)	\
	(world_poller(function), &excluded_task)
#define kthread_stop(task)		((void)(task))
#define kthread_should_stop()		false

/* Memory is the machine's. */
#define GFP_KERNEL			0
#define GFP_DMA				0
#define __GFP_ZERO			0
#define __get_free_page(flags)		((unsigned long)world_pages(1))
#define get_zeroed_page(flags)		((unsigned long)world_pages(1))
#define free_page(address)		((void)(address))
#define vmalloc_user(bytes)		world_pages((bytes) / PAGE_SIZE)
#define vfree(address)			((void)(address))
#define virt_to_phys(address)		((u64)((uint8_t *)(address) - world.ram))
#define phys_to_virt(address)		((void *)(world.ram + (address)))
#define vmalloc_to_pfn(address)		(virt_to_phys(address) / PAGE_SIZE)
#define for_each_online_node(node)	for ((node) = 0; (node) < 1; (node)++)
#define node_end_pfn(node)		WORLD_PAGES
#define get_random_bytes(to, size)	memset((to), 0xa5, (size))
#define get_random_u64()		77
#define crc32_le(before, data, size)	(~crc32_update(~(before), (data), (size)))

uint32_t crc32_update(uint32_t crc, const void *bytes, size_t count);

static inline void set_bit(unsigned long number, unsigned long *bits)
{
	bits[number / 64] |= 1UL << number % 64;
}

/* ------------------------------------------------ of the module's other files */

struct sparc_run {
	void *base;
	u64 capacity;
	unsigned long *drop, *stash;
	struct sparc_extent *extents;
	u32 max_extents, max_processes;
	unsigned long ram_pages;
};

struct sparc_collection {
	u32 sequence;
	bool must_be_frozen;
	u32 reason;
	s32 reason_pid;
	char reason_comm[SPARC_COMM_LEN];
	u64 ns;
	u32 retries;
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

int sparc_park(struct sparc_park *park);
int sparc_park_fail(const struct sparc_fail *fail);
int sparc_poll_start(void);
void sparc_poll_stop(void);
void sparc_poll_wake(void);
void sparc_park_orphaned(void);

int sparc_collect_begin(struct sparc_collection *collection);
int sparc_collect_stopped(struct sparc_collection *collection);
int sparc_collect_blame(struct sparc_collection *collection, u32 reason, struct task_struct *task);
void sparc_event(u32 type, u32 sequence, s32 pid, const char *comm);
bool sparc_has_opener(void);

#define sparc_collect_end(collection)		((void)(collection))
#define sparc_objects_stopped(collection)	((void)(collection))
#define sparc_objects_mend(collection)		((void)(collection))
#define sparc_set_incomplete()			false
#define sparc_set_prune()			((void)0)
#define sparc_terminals_forget(all)		((void)(all))
#define sparc_drain_lru()			((void)0)
#define sparc_registers_scrub()			((void)0)
#define sparc_rcu_quiescent()			((void)0)
#define sparc_stalls_hide()			true
#define sparc_stalls_show()			((void)0)

#endif /* SPARC_MODEL_KERNEL_H */
