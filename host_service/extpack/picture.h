/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The picture of the screen that VirtualBox puts into each saved state, twice: large and small. */
#ifndef SPARC_PICTURE_H
#define SPARC_PICTURE_H

#include <stdbool.h>

#include "vbox.h"

/* Stands in front of VirtualBox's own, through which that picture's unit comes. */
vbox_register_fn picture_register;

/* From here on none is saved. Returns NULL, or why that cannot be. */
const char *picture_begin(void);

/* As usual again. Returns NULL, or why one may have been saved after all. */
const char *picture_end(void);

void picture_forget(void);

#endif /* SPARC_PICTURE_H */
