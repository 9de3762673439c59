/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_RUNDIR_H
#define SPARC_RUNDIR_H

#include <sys/un.h>

/*
 * The address of a socket in this user's run directory, which is made if need be.
 * 0, or -1 if that directory is not ours alone or cannot be made.
 */
int rundir_socket(struct sockaddr_un *address, const char *name);

#endif /* SPARC_RUNDIR_H */
