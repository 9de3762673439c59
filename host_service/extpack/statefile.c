// SPDX-License-Identifier: GPL-2.0-or-later
#include "statefile.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length > tail && !strcmp(text + length - tail, end);
}

static bool is_written(int descriptor)
{
	int flags = fcntl(descriptor, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* The one file open for writing whose path ends so. */
static char *find_open(const char *end)
{
	DIR *folder = opendir("/proc/self/fd");
	char path[PATH_MAX + 1];
	char *found = NULL;
	struct dirent *entry;
	unsigned int count = 0;

	if (!folder)
		return NULL;
	while ((entry = readdir(folder))) {
		ssize_t length = readlinkat(dirfd(folder), entry->d_name, path, PATH_MAX);

		if (length <= 0)
			continue;
		path[length] = '\0';
		if (path[0] != '/' || !ends_with(path, end) || !is_written(atoi(entry->d_name)))
			continue;
		if (found && !strcmp(found, path))
			continue;
		free(found);
		found = strdup(path);
		count++;
	}
	closedir(folder);
	if (count == 1)
		return found;
	free(found);
	return NULL;
}

char *statefile_find(void)
{
	return find_open(".sav");
}

char *statefile_log_folder(void)
{
	static const char end[] = "/Logs/VBox.log";
	char *path = find_open(end);

	if (path)
		path[strlen(path) - strlen(end)] = '\0';
	return path;
}
