// SPDX-License-Identifier: GPL-2.0-or-later
#include "rundir.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

int rundir_socket(struct sockaddr_un *address, const char *name)
{
	/* As host_service/run_dir.py has it. */
	char folder[64] = "/run/sparc-host";
	struct stat found;
	int length;

	if (getuid())
		snprintf(folder, sizeof(folder), "/run/user/%u/sparc", getuid());
	if (mkdir(folder, 0700) && errno != EEXIST)
		return -1;
	if (lstat(folder, &found) || !S_ISDIR(found.st_mode) || found.st_uid != getuid() ||
	    (found.st_mode & 077))
		return -1;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	length = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", folder, name);
	return length < (int)sizeof(address->sun_path) ? 0 : -1;
}
