/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_STATEFILE_H
#define SPARC_STATEFILE_H

/*
 * The path of the .sav that this process has open for writing, for the caller to free;
 * NULL if there is none, or more than one.
 */
char *statefile_find(void);

/*
 * The folder of the log that VirtualBox writes for this machine, without the last name,
 * for the caller to free; or NULL.
 */
char *statefile_log_folder(void);

#endif /* SPARC_STATEFILE_H */
