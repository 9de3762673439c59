/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What differs between kernels, and nothing else. The table of changes is in
 * README.md.
 */
#ifndef SPARC_COMPAT_H
#define SPARC_COMPAT_H

#include <linux/fs.h>
#include <linux/kd.h>
#include <linux/kfifo.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/serial_core.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/swiotlb.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_port.h>
#include <linux/version.h>
#include <linux/vt_kern.h>
#include <asm/fpu/api.h>
#include <asm/processor.h>

#ifndef CONFIG_TRACEPOINTS
#error "sparc follows forks by tracepoints: CONFIG_TRACEPOINTS is needed"
#endif
#if !defined(CONFIG_KPROBES) || !defined(CONFIG_FSNOTIFY)
#error "sparc sees what files processes get: CONFIG_KPROBES and CONFIG_FSNOTIFY are needed"
#endif
#ifndef CONFIG_CGROUPS
#error "sparc needs the cgroup v2 freezer: CONFIG_CGROUPS"
#endif
#ifndef CONFIG_VT
#error "sparc keeps consoles out: CONFIG_VT is needed"
#endif

/* An entry of a page table that is not present: one type since 6.19. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)

#include <linux/leafops.h>
#include <linux/folio_batch.h>

static inline bool sparc_pte_in_swap(pte_t pte, unsigned long *slot)
{
	softleaf_t leaf = softleaf_from_pte(pte);

	*slot = leaf.val;
	return softleaf_is_swap(leaf);
}

static inline bool sparc_pte_migrates(pte_t pte, unsigned long *pfn)
{
	softleaf_t leaf = softleaf_from_pte(pte);

	if (!softleaf_is_migration(leaf))
		return false;
	*pfn = softleaf_to_pfn(leaf);
	return true;
}

static inline bool sparc_pmd_migrates(pmd_t pmd)
{
	return pmd_is_migration_entry(pmd);
}

#else

#include <linux/pagevec.h>

static inline bool sparc_pte_in_swap(pte_t pte, unsigned long *slot)
{
	swp_entry_t entry = pte_to_swp_entry(pte);

	*slot = entry.val;
	return !non_swap_entry(entry);
}

static inline bool sparc_pte_migrates(pte_t pte, unsigned long *pfn)
{
	swp_entry_t entry = pte_to_swp_entry(pte);

	if (!is_migration_entry(entry))
		return false;
	*pfn = swp_offset_pfn(entry);
	return true;
}

static inline bool sparc_pmd_migrates(pmd_t pmd)
{
	return is_pmd_migration_entry(pmd);
}

#endif

/* The swap slot of a folio in the swap cache; the field got its name in 6.6. */
static inline unsigned long sparc_swap_slot(struct folio *folio)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return folio->swap.val;
#else
	return page_private(&folio->page);
#endif
}

/*
 * Move this CPU's batches of folios to their lists, so that what was freed
 * is free. lru_add_drain() is not exported; releasing an empty batch calls it.
 */
static inline void sparc_drain_lru(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
	struct folio_batch batch;

	folio_batch_init(&batch);
	__folio_batch_release(&batch);
#else
	struct pagevec batch;

	pagevec_init(&batch);
	__pagevec_release(&batch);
#endif
}

/* Writing flags of an area got its own functions in 6.3. */
static inline void sparc_never_writable(struct vm_area_struct *area)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(area, VM_MAYWRITE);
#else
	area->vm_flags &= ~VM_MAYWRITE;
#endif
}

/* A device may have several pools of bounce buffers since 6.6; until then it has one. */
#ifdef CONFIG_SWIOTLB
#ifndef INVALID_PHYS_ADDR
#define INVALID_PHYS_ADDR (~(phys_addr_t)0)
#endif
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
#define sparc_tlb_pool io_tlb_mem
#else
#define sparc_tlb_pool io_tlb_pool
#endif

/* The pool after this one, or the first; NULL if there is none. */
static inline struct sparc_tlb_pool *sparc_tlb_next(struct io_tlb_mem *memory,
						    struct sparc_tlb_pool *pool)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 6, 0)
	return pool ? NULL : memory;
#elif defined(CONFIG_SWIOTLB_DYNAMIC)
	if (!pool)
		return list_first_entry_or_null(&memory->pools, struct io_tlb_pool, node);
	return list_is_last(&pool->node, &memory->pools) ? NULL : list_next_entry(pool, node);
#else
	return pool ? NULL : &memory->defpool;
#endif
}
#endif

/* Memory of tmpfs and its like. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define sparc_is_shmem(mapping) shmem_mapping(mapping)
#else
extern const struct address_space_operations shmem_aops;
#define sparc_is_shmem(mapping) ((mapping)->a_ops == &shmem_aops)
#endif

/* Change a file's attributes by its own file system's means. The inode is locked. */
static inline int sparc_setattr(struct dentry *dentry, struct iattr *change)
{
	const struct inode_operations *operations = d_inode(dentry)->i_op;
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	struct mnt_idmap *of = &nop_mnt_idmap;
#else
	struct user_namespace *of = &init_user_ns;
#endif

	return operations->setattr ? operations->setattr(of, dentry, change) :
				     simple_setattr(of, dentry, change);
}

/* Attributes of files, as lsattr shows them: they got another name in 6.17. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 17, 0)
#define sparc_fileattr file_kattr
#else
#define sparc_fileattr fileattr
#endif

/* What is written there is written to the file. */
static inline bool sparc_area_writes(struct vm_area_struct *area)
{
	return (area->vm_flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE);
}

/* Marks of fsnotify's that do not pin their inodes needed a flag until 6.11 or so. */
#ifdef FSNOTIFY_GROUP_NOFS
#define SPARC_FSNOTIFY_GROUP FSNOTIFY_GROUP_NOFS
#else
#define SPARC_FSNOTIFY_GROUP 0
#endif

/* The pages that a pipe keeps for its next write: one, since 6.15 two. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
#define SPARC_PIPE_SPARES ARRAY_SIZE(((struct pipe_inode_info *)NULL)->tmp_page)
#define sparc_pipe_spare(pipe, i) ((pipe)->tmp_page[i])
#else
#define SPARC_PIPE_SPARES 1
#define sparc_pipe_spare(pipe, i) ((pipe)->tmp_page)
#endif

/*
 * What a serial line is still to send: a FIFO of its port since 6.10, before that a ring that only
 * lines of serial_core have. A driver of serial_core names itself in its own structure.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
static inline void *sparc_uart_buffer(struct tty_struct *tty)
{
	return NULL;
}

static inline void sparc_uart_empty(struct tty_struct *tty)
{
	kfifo_reset(&tty->port->xmit_fifo);
}
#else
static inline struct uart_state *sparc_uart(struct tty_struct *tty)
{
	struct uart_driver *driver = tty->driver->driver_state;

	if (tty->driver->type != TTY_DRIVER_TYPE_SERIAL || !driver ||
	    tty->driver_data != tty->port || driver->tty_driver != tty->driver)
		return NULL;
	return tty->driver_data;
}

static inline void *sparc_uart_buffer(struct tty_struct *tty)
{
	struct uart_state *uart = sparc_uart(tty);

	return uart ? uart->xmit.buf : NULL;
}

static inline void sparc_uart_empty(struct tty_struct *tty)
{
	struct uart_state *uart = sparc_uart(tty);

	if (uart)
		uart_circ_clear(&uart->xmit);
}
#endif

/* The characters of a console's screen, where somebody asked for them: behind pointers to lines. */
struct sparc_characters {
	u32 *start;
	size_t count;
};

static inline struct sparc_characters sparc_characters_at(void *lines, size_t rows, size_t columns)
{
	return (struct sparc_characters){
		.start = lines ? lines + rows * sizeof(u32 *) : NULL,
		.count = rows * columns,
	};
}

static inline struct sparc_characters sparc_characters(struct vc_data *vc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	return sparc_characters_at(vc->vc_uni_lines, vc->vc_rows, vc->vc_cols);
#else
	return sparc_characters_at(vc->vc_uni_screen, vc->vc_rows, vc->vc_cols);
#endif
}

/* The screen that waits behind the alternate one, since 6.18; its characters since 7.1. */
static inline u16 *sparc_saved_cells(struct vc_data *vc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return vc->vc_saved_screen;
#else
	return NULL;
#endif
}

static inline size_t sparc_saved_count(struct vc_data *vc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
	return (size_t)vc->vc_saved_rows * vc->vc_saved_cols;
#else
	return 0;
#endif
}

static inline struct sparc_characters sparc_saved_characters(struct vc_data *vc)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 1, 0)
	return sparc_characters_at(vc->vc_saved_uni_lines, vc->vc_saved_rows, vc->vc_saved_cols);
#else
	return (struct sparc_characters){ };
#endif
}

/* Exported, but declared in no header that modules have. */
extern int rcu_cpu_stall_suppress;

/* Tell RCU that this CPU was quiescent; renamed in 6.14. */
static inline void sparc_rcu_quiescent(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 14, 0)
	rcu_momentary_eqs();
#else
	rcu_momentary_dyntick_idle();
#endif
}

/* Every task has left the code that a probe may have sent it to. */
static inline void sparc_rcu_tasks_quiescent(void)
{
#ifdef CONFIG_TASKS_RCU
	synchronize_rcu_tasks();
#else
	synchronize_rcu();
#endif
}

/* The flag of a cache that the allocator sets by how its objects come to lie: since 7.0. */
#ifdef SLAB_OBJ_EXT_IN_OBJ
#define SPARC_SLAB_LAYOUT ((__force unsigned int)SLAB_OBJ_EXT_IN_OBJ)
#else
#define SPARC_SLAB_LAYOUT 0u
#endif

/* Lists of the slab allocator's for kfree_rcu(): since 6.18. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define SPARC_RCU_SHEAVES
#endif

/* Whether it has a CPU, so that where its stack ends is not saved. */
static inline bool sparc_on_cpu(struct task_struct *task)
{
#ifdef CONFIG_SMP
	return task->on_cpu;
#else
	return task == current;
#endif
}

/* How far up the stack an unwinder has come: where the frame begins that it has reached. */
#define sparc_unwound(state) ((void *)SPARC_UNWOUND(state))
#if defined(CONFIG_UNWINDER_ORC)
#define SPARC_UNWOUND(state) ((state)->sp)
#elif defined(CONFIG_UNWINDER_FRAME_POINTER)
#define SPARC_UNWOUND(state) ((state)->bp + 2)
#else
#define SPARC_UNWOUND(state) 0ul
#endif

/* A process's timers: a list, since 6.12 one with a single pointer as its head. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#define sparc_for_each_timer(timer, signal) \
	hlist_for_each_entry(timer, &(signal)->posix_timers, list)
#else
#define sparc_for_each_timer(timer, signal) \
	list_for_each_entry(timer, &(signal)->posix_timers, list)
#endif

/* What a timer sends: since 6.13 part of it. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define sparc_timer_signal(timer) (&(timer)->sigq)
#else
#define sparc_timer_signal(timer) ((timer)->sigq)
#endif

/* What was given to kfree_rcu() is freed; before 6.12 that happens some seconds later. */
static inline void sparc_kvfree_rcu_barrier(void)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	kvfree_rcu_barrier();
#endif
}

/* Where the FPU state is. It left struct thread_struct in 6.16, behind a function not exported. */
static inline struct fpu *sparc_task_fpu(struct task_struct *task)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
	return (void *)task + sizeof(*task);
#else
	return &task->thread.fpu;
#endif
}

/* Orders of the buddy lists run up to this one, inclusive. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define SPARC_MAX_ORDER MAX_PAGE_ORDER
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(6, 4, 0)
#define SPARC_MAX_ORDER MAX_ORDER
#else
#define SPARC_MAX_ORDER (MAX_ORDER - 1)
#endif

/* The order of the blocks on a per-CPU list past those for small orders. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define SPARC_PCP_BIG_ORDER HPAGE_PMD_ORDER
#else
#define SPARC_PCP_BIG_ORDER pageblock_order
#endif

/* Pages freed where the zone's lock could not be had: since 6.16. */
#define SPARC_ZONE_HAS_LLIST (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0))

#endif
