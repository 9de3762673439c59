// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>

static void (*release_log)(const char *format, ...);

void log_open(void *library)
{
	*(void **)&release_log = dlsym(library, "RTLogRelPrintf");
}

void log_line(const char *format, ...)
{
	char line[512];
	va_list arguments;

	if (!release_log)
		return;
	/* VirtualBox's own printf knows other formats than this one's caller. */
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	release_log("Sparc: %s\n", line);
}
