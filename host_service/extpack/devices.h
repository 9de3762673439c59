/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine's devices, as they save themselves. VirtualBox gives each device a table of
 * functions to do so with; ours stand in front of a few of them.
 */
#ifndef SPARC_DEVICES_H
#define SPARC_DEVICES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Before any device is made: stand in front of the functions. `inside` is anything in the part of
 * VBoxVMM.so that holds its tables, `library` its handle. Returns NULL, or what is missing.
 */
const char *devices_open(const void *inside, void *library);
void devices_close(void);

/* Why this machine's devices cannot be blanked, or NULL. */
const char *devices_fault(void);

/*
 * From here on, they are, and on the first fault the save ends if it is `strict`. The screen, if
 * it is blanked too, has so many bytes of video memory; otherwise 0.
 */
void devices_begin(uint64_t screen_bytes, bool strict);

/* No longer. Returns NULL, or why something may be left in what was saved. */
const char *devices_end(unsigned int *blanked);

#endif /* SPARC_DEVICES_H */
