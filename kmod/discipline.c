// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The line discipline of terminals, N_TTY: it keeps what was typed and what is to be echoed in two
 * rings, within a structure that no header shows. Where they are in it is found out when
 * the module is loaded: a terminal that is nobody's is typed at until both are full of one letter.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_ldisc.h>
#include <linux/vmalloc.h>

#include "sparc.h"

#define RING	4096
#define LETTER	'x'
#define BURST	64

static size_t rings[2];

static unsigned int no_room(struct tty_struct *tty)
{
	return 0;
}

/* What the kernel has behind that address, to the end of what was allocated. */
static size_t allocated(void *data)
{
	size_t size = 0;

	while (vmalloc_to_page(data + size))
		size += PAGE_SIZE;
	return size;
}

/* Exactly two runs of exactly a ring's size, or this is not the kernel that it is taken for. */
static int find_rings(const u8 *data, size_t size)
{
	size_t i, run = 0, found = 0;

	for (i = 0; i <= size; i++) {
		if (i < size && data[i] == LETTER) {
			run++;
			continue;
		}
		if (run == RING && found < ARRAY_SIZE(rings))
			rings[found++] = i - RING;
		else if (run > BURST)
			return -ENXIO;
		run = 0;
	}
	return found == ARRAY_SIZE(rings) ? 0 : -ENXIO;
}

/* Nobody reads, and nothing can be put out: both rings run full. */
static int type_at(struct tty_struct *tty)
{
	struct tty_ldisc_ops n_tty;
	u8 letters[BURST];
	int error, i;

	n_tty_inherit_ops(&n_tty);
	error = n_tty.open(tty);
	if (error)
		return error;
	memset(letters, LETTER, sizeof(letters));
	for (i = 0; i < 2 * RING / BURST + 1; i++)
		n_tty.receive_buf(tty, letters, NULL, sizeof(letters));
	error = -ENXIO;
	if (is_vmalloc_addr(tty->disc_data) && !offset_in_page(tty->disc_data))
		error = find_rings(tty->disc_data, allocated(tty->disc_data));
	n_tty.close(tty);
	return error;
}

int sparc_discipline_start(void)
{
	static const struct tty_operations operations = { .write_room = no_room };
	struct tty_driver *driver = kzalloc(sizeof(*driver), GFP_KERNEL);
	struct tty_struct *tty = kzalloc(sizeof(*tty), GFP_KERNEL);
	int error = -ENOMEM;

	if (driver && tty) {
		driver->type = TTY_DRIVER_TYPE_PTY;
		tty->driver = driver;
		tty->ops = &operations;
		tty->termios.c_lflag = ICANON | ECHO;
		init_rwsem(&tty->termios_rwsem);
		init_waitqueue_head(&tty->read_wait);
		init_waitqueue_head(&tty->write_wait);
		error = type_at(tty);
	}
	if (error)
		pr_err("cannot tell what this kernel's terminals keep: %d\n", error);
	kfree(tty);
	kfree(driver);
	return error;
}

/* Whole rings: what was read is still in them. */
int sparc_discipline(struct sparc_collection *collection, struct tty_struct *tty)
{
	int error = 0;
	size_t i;

	/* Negative: somebody is changing it, or waits to. */
	if (atomic_long_read(&tty->ldisc_sem.count) < 0)
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	if (!tty->ldisc || !tty->disc_data)
		return 0;
	/* Another's data are another's secret: it is not known where they are. */
	if (tty->ldisc->ops->num != N_TTY)
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	for (i = 0; i < ARRAY_SIZE(rings) && !error; i++)
		error = sparc_extent(collection->manifest, tty->disc_data + rings[i], RING,
				     SPARC_KIND_TTY);
	return error;
}

/*
 * In a restored machine: another one begins empty. Where a driver insists on this one, as that of
 * virtual consoles does, what is to be read is dropped; echoes of zeros show nothing there.
 */
void sparc_discipline_renew(struct tty_struct *tty)
{
	if (!tty_set_ldisc(tty, N_NULL))
		tty_set_ldisc(tty, N_TTY);
	tty_ldisc_flush(tty);
}
