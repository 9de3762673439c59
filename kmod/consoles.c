// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Virtual consoles: what stands on their screens, in memory. What is shown at this moment is in
 * video memory, which the host has: the manifest asks it to keep that out.
 */
#include <linux/bitmap.h>
#include <linux/console.h>
#include <linux/kd.h>
#include <linux/major.h>
#include <linux/tty.h>
#include <linux/tty_driver.h>
#include <linux/tty_port.h>
#include <linux/vt_buffer.h>
#include <linux/vt_kern.h>

#include "compat.h"
#include "sparc.h"

/* Consoles that were a terminal of the set: a screen outlives those who wrote on it. */
static DECLARE_BITMAP(written, MAX_NR_CONSOLES);

static struct vc_data *foreground(void)
{
	return vc_cons[fg_console].d;
}

static bool is_vga_text(struct vc_data *vc)
{
	return IS_ENABLED(CONFIG_VGA_CONSOLE) && vc->vc_sw == &vga_con &&
	       vc->vc_mode == KD_TEXT;
}

/* ------------------------------------------------ in a restored machine */

static void hold_console(void *object)
{
	struct vc_data *vc = object;

	tty_port_get(&vc->port);
}

static void fill_cells(struct vc_data *vc, u16 *cells, size_t count)
{
	if (cells)
		scr_memsetw(cells, vc->vc_video_erase_char, 2 * count);
}

static void fill_characters(struct sparc_characters characters)
{
	if (characters.start)
		memset32(characters.start, ' ', characters.count);
}

/* Also wakes the screen: what it shows when it wakes may be zeros. */
static void redraw(struct vc_data *vc)
{
	if (!con_is_visible(vc) || vc->vc_mode != KD_TEXT)
		return;
	do_unblank_screen(0);
	redraw_screen(vc, 0);
}

/* Zeros are not what an empty screen is made of. */
static void mend_console(void *object)
{
	struct vc_data *vc = object;

	console_lock();
	if (vc_cons[vc->vc_num].d == vc) {
		fill_cells(vc, vc->vc_screenbuf, vc->vc_screenbuf_size / 2);
		fill_cells(vc, sparc_saved_cells(vc), sparc_saved_count(vc));
		fill_characters(sparc_characters(vc));
		fill_characters(sparc_saved_characters(vc));
		redraw(vc);
	}
	console_unlock();
	tty_port_put(&vc->port);
}

static const struct sparc_remedy console_remedy = {
	.stopped = hold_console,
	.mend = mend_console,
};

/* Video memory may have been blanked under a console that is nobody's of the set. */
static void mend_screen(void *object)
{
	struct vc_data *vc;
	u16 *cell;

	console_lock();
	vc = foreground();
	if (vc && is_vga_text(vc) && con_is_visible(vc)) {
		for (cell = (u16 *)vc->vc_origin; cell < (u16 *)vc->vc_scr_end; cell++)
			if (!scr_readw(cell))
				scr_writew(vc->vc_video_erase_char, cell);
		/* What is shown is taken from there when it is redrawn. */
		scr_memcpyw(vc->vc_screenbuf, (u16 *)vc->vc_origin, vc->vc_screenbuf_size);
	}
	if (vc)
		redraw(vc);
	console_unlock();
}

static void nothing(void *object)
{
}

static const struct sparc_remedy screen_remedy = { .stopped = nothing, .mend = mend_screen };

/* --------------------------------------------------------- in the count */

static int part(struct sparc_collection *collection, void *start, size_t length)
{
	if (!start)
		return 0;
	return sparc_extent(collection->manifest, start, length, SPARC_KIND_CONSOLE);
}

static int characters(struct sparc_collection *collection, struct sparc_characters characters)
{
	return part(collection, characters.start, 4 * characters.count);
}

static int screen(struct sparc_collection *collection, struct vc_data *vc)
{
	int error = sparc_object(collection, vc, &console_remedy);

	if (error <= 0)
		return error;
	if (is_console_locked())
		return sparc_collect_blame(collection, SPARC_REASON_BUSY, NULL);
	collection->manifest->display = SPARC_DISPLAY_TEXT;
	error = part(collection, vc->vc_screenbuf, vc->vc_screenbuf_size);
	if (!error)
		error = part(collection, sparc_saved_cells(vc), 2 * sparc_saved_count(vc));
	if (!error)
		error = characters(collection, sparc_characters(vc));
	if (!error)
		error = characters(collection, sparc_saved_characters(vc));
	return error;
}

static struct vc_data *console_of(struct tty_struct *tty)
{
	int number = tty->index;

	if (tty->driver->major != TTY_MAJOR || number < 0 || number >= MAX_NR_CONSOLES ||
	    vc_cons[number].d != tty->driver_data)
		return NULL;
	return vc_cons[number].d;
}

void sparc_console_written(struct tty_struct *tty)
{
	if (console_of(tty))
		set_bit(tty->index, written);
}

/* The screen of a terminal, if it has one. */
int sparc_console(struct sparc_collection *collection, struct tty_struct *tty)
{
	struct vc_data *vc = console_of(tty);

	if (!vc)
		return 0;
	set_bit(tty->index, written);
	return screen(collection, vc);
}

/* What is to be blanked of the screen; the last to be called. wanted: whatever is on it. */
int sparc_display(struct sparc_collection *collection, bool wanted)
{
	struct sparc_manifest *manifest = collection->manifest;
	struct vc_data *vc;
	int number, error;

	for_each_set_bit(number, written, MAX_NR_CONSOLES) {
		if (!vc_cons[number].d) {
			clear_bit(number, written);
			continue;
		}
		error = screen(collection, vc_cons[number].d);
		if (error < 0)
			return error;
	}
	if (!wanted && manifest->display == SPARC_DISPLAY_KEEP)
		return 0;
	vc = foreground();
	manifest->display = vc && is_vga_text(vc) ? SPARC_DISPLAY_TEXT : SPARC_DISPLAY_ALL;
	error = sparc_object(collection, &vc_cons, &screen_remedy);
	return min(error, 0);
}
