// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Terminals: those that a process of the set has open, and the one that controls it; of pseudo
 * terminals both sides. What is in one belongs to everybody who is at it.
 */
#include <linux/fs.h>
#include <linux/kallsyms.h>
#include <linux/llist.h>
#include <linux/major.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/tty.h>
#include <linux/tty_buffer.h>
#include <linux/tty_driver.h>
#include <linux/tty_flip.h>
#include <linux/tty_port.h>

#include "compat.h"
#include "sparc.h"

/* ------------------------------------------------ in a restored machine */

/* What waits between driver and discipline has been read, and what waits to be sent is sent. */
static void stop_terminal(void *object)
{
	struct tty_struct *tty = tty_kref_get(object);
	struct tty_buffer *buffer;

	/* Each side of a pseudo terminal uses the other's buffers: both stay for long enough. */
	if (tty->link)
		tty_kref_get(tty->link);
	for (buffer = tty->port->buf.head; buffer; buffer = buffer->next) {
		buffer->commit = buffer->used;
		buffer->lookahead = buffer->used;
		buffer->read = buffer->used;
	}
	sparc_uart_empty(tty);
}

/* Whoever is at the terminal from now on finds it empty, and its output going on. */
static void mend_terminal(void *object)
{
	struct tty_struct *tty = object;

	sparc_discipline_renew(tty);
	tty_driver_flush_buffer(tty);
	/* Those who stopped it may be the ones that were killed. */
	spin_lock_irq(&tty->flow.lock);
	tty->flow.tco_stopped = false;
	spin_unlock_irq(&tty->flow.lock);
	start_tty(tty);
	if (tty->link)
		tty_kref_put(tty->link);
	tty_kref_put(tty);
}

static const struct sparc_remedy remedy = { .stopped = stop_terminal, .mend = mend_terminal };

/* --------------------------------------------------------- in the count */

static int part(struct sparc_collection *collection, void *address, size_t length)
{
	return address ? sparc_extent(collection->manifest, address, length, SPARC_KIND_TTY) : 0;
}

/* Those that are in use, and those that wait to be used again. */
static int flip_buffers(struct sparc_collection *collection, struct tty_bufhead *head)
{
	struct tty_buffer *buffer;
	int error;

	if (mutex_is_locked(&head->lock))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	for (buffer = head->head; buffer; buffer = buffer->next) {
		error = part(collection, char_buf_ptr(buffer, 0), 2 * buffer->size);
		if (error)
			return error;
	}
	llist_for_each_entry(buffer, head->free.first, free) {
		error = part(collection, char_buf_ptr(buffer, 0), 2 * buffer->size);
		if (error)
			return error;
	}
	return 0;
}

static int one_side(struct sparc_collection *collection, struct tty_struct *tty)
{
	int error = sparc_object(collection, tty, &remedy);

	if (error <= 0)
		return error;
	/* A writer that waits is not frozen: the buffer might be another in a moment. */
	if (collection->must_be_frozen && mutex_is_locked(&tty->atomic_write_lock))
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	error = sparc_discipline(collection, tty);
	if (!error)
		error = flip_buffers(collection, &tty->port->buf);
	if (!error)
		error = part(collection, tty->write_buf, tty->write_cnt);
	if (!error)
		error = part(collection, tty->port->xmit_buf, PAGE_SIZE);
	if (!error)
		error = part(collection, sparc_uart_buffer(tty), PAGE_SIZE);
	if (!error)
		error = sparc_console(collection, tty);
	return error;
}

/* Once a pair is closed, a side may still be there without the other. */
static bool has_link(struct tty_struct *tty)
{
	return tty->link && tty->port->itty == tty;
}

static int terminal(struct sparc_collection *collection, struct tty_struct *tty)
{
	int error = tty ? one_side(collection, tty) : 0;

	if (!error && tty && has_link(tty))
		error = one_side(collection, tty->link);
	return error;
}

/* The kernel's functions for terminals are in no header; they are known by name. */
static bool is_terminal(struct file *file)
{
	static const void *known;
	const void *ioctl = file->f_op->unlocked_ioctl;
	char name[KSYM_SYMBOL_LEN];

	if (!ioctl || imajor(file_inode(file)) == MEM_MAJOR)
		return false;
	if (ioctl == known)
		return true;
	sprint_symbol(name, (unsigned long)ioctl);
	if (strstarts(name, "hung_up_tty_ioctl+0x0/"))
		return true;
	if (!strstarts(name, "tty_ioctl+0x0/"))
		return false;
	known = ioctl;
	return true;
}

static struct tty_struct *terminal_of_file(struct file *file)
{
	struct tty_file_private *open = file->private_data;

	return open && is_terminal(file) ? open->tty : NULL;
}

int sparc_terminal_file(struct sparc_collection *collection, struct file *file)
{
	return terminal(collection, terminal_of_file(file));
}

int sparc_terminal_of(struct sparc_collection *collection, struct task_struct *task)
{
	return terminal(collection, task->signal->tty);
}

/* -------------------------------------------- terminals that were the set's */

/*
 * What somebody left in a terminal stays there when he closes it or ends. It is of interest until
 * all have closed it, and is wiped then, before it becomes memory that is free.
 */
struct known {
	struct list_head node;
	struct tty_struct *tty;
};

static LIST_HEAD(terminals);
static DEFINE_SPINLOCK(terminals_lock);
/* One could not be noted: no checkpoint is clean any more. */
static bool lost;

static bool is_known(struct tty_struct *tty)
{
	struct known *one;

	list_for_each_entry(one, &terminals, node)
		if (one->tty == tty)
			return true;
	return false;
}

static void know(struct tty_struct *tty)
{
	struct known *one;

	if (is_known(tty))
		return;
	one = kmalloc(sizeof(*one), GFP_ATOMIC);
	if (!one) {
		lost = true;
		return;
	}
	one->tty = tty_kref_get(tty);
	list_add(&one->node, &terminals);
}

static void note(struct tty_struct *tty)
{
	unsigned long flags;

	if (!tty)
		return;
	sparc_console_written(tty);
	spin_lock_irqsave(&terminals_lock, flags);
	know(tty);
	if (has_link(tty))
		know(tty->link);
	spin_unlock_irqrestore(&terminals_lock, flags);
}

/* A process of the set has it open. May be called where nothing may sleep. */
void sparc_terminal_note(struct file *file)
{
	if (S_ISCHR(file_inode(file)->i_mode))
		note(terminal_of_file(file));
}

/* The one that controls the current task, which may have come by it without opening it. */
void sparc_terminal_note_own(void)
{
	struct sighand_struct *handlers = rcu_dereference_raw(current->sighand);
	unsigned long flags;

	spin_lock_irqsave(&handlers->siglock, flags);
	note(current->signal->tty);
	spin_unlock_irqrestore(&handlers->siglock, flags);
}

int sparc_terminals_known(struct sparc_collection *collection)
{
	struct known *one;
	int error;

	if (lost) {
		sparc_collect_blame(collection, SPARC_REASON_NO_MEMORY, NULL);
		return -ENOMEM;
	}
	list_for_each_entry(one, &terminals, node) {
		error = terminal(collection, one->tty);
		if (error < 0)
			return error;
	}
	return 0;
}

static bool is_closed(struct tty_struct *tty)
{
	return READ_ONCE(tty->port->itty) != tty;
}

/* Nobody has it open, no driver works on it. Of a device, its port may be another's already. */
static void wipe(struct tty_struct *tty)
{
	struct tty_bufhead *head = &tty->port->buf;
	struct tty_buffer *buffer;

	if (tty->write_buf)
		memset(tty->write_buf, 0, tty->write_cnt);
	if (tty->driver->type != TTY_DRIVER_TYPE_PTY)
		return;
	for (buffer = head->head; buffer; buffer = buffer->next)
		memset(char_buf_ptr(buffer, 0), 0, 2 * buffer->size);
	llist_for_each_entry(buffer, head->free.first, free)
		memset(char_buf_ptr(buffer, 0), 0, 2 * buffer->size);
}

/* Lets go of those that nobody has open any more; all: of the others, too. */
void sparc_terminals_forget(bool all)
{
	struct known *one, *next;
	LIST_HEAD(gone);

	spin_lock_irq(&terminals_lock);
	list_for_each_entry_safe(one, next, &terminals, node)
		if (all || is_closed(one->tty))
			list_move(&one->node, &gone);
	spin_unlock_irq(&terminals_lock);
	list_for_each_entry_safe(one, next, &gone, node) {
		if (is_closed(one->tty))
			wipe(one->tty);
		tty_kref_put(one->tty);
		kfree(one);
	}
}
