/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A socket at which programs of the same user can ask how the machine stands. */
#ifndef SPARC_STATUS_H
#define SPARC_STATUS_H

void status_start(void);
void status_stop(void);

#endif /* SPARC_STATUS_H */
