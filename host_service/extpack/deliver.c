// SPDX-License-Identifier: GPL-2.0-or-later
#include "deliver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handshake.h"
#include "rundir.h"

#define SERVICE_MS	200

static int write_all(int file, const char *text)
{
	size_t left = strlen(text);

	while (left) {
		ssize_t done = write(file, text, left);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		text += done;
		left -= done;
	}
	return 0;
}

int deliver_to_file(const char *text, const char *state_file)
{
	char path[PATH_MAX], temporary[PATH_MAX];
	size_t stem = strlen(state_file);
	int file, failed;

	if (stem > 4 && !strcmp(state_file + stem - 4, ".sav"))
		stem -= 4;
	if (snprintf(path, sizeof(path), "%.*s.sparc.json", (int)stem, state_file) >= PATH_MAX ||
	    snprintf(temporary, sizeof(temporary), "%.*s.sparc.XXXXXX", (int)stem, state_file) >=
		    PATH_MAX)
		return -1;
	/* Makes it with O_EXCL and mode 0600. */
	file = mkostemp(temporary, O_CLOEXEC);
	if (file < 0)
		return -1;
	failed = write_all(file, text);
	if (close(file) || failed || rename(temporary, path)) {
		unlink(temporary);
		return -1;
	}
	return 0;
}

/* As much as goes through before the time is up. */
static void send_all(int peer, const char *text, uint64_t until_us)
{
	size_t left = strlen(text);

	while (left) {
		struct pollfd ready = { .fd = peer, .events = POLLOUT };
		uint64_t now = clock_us();
		ssize_t done;

		if (now >= until_us || poll(&ready, 1, (until_us - now) / 1000 + 1) != 1)
			return;
		done = send(peer, text, left, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return;
		if (done > 0) {
			text += done;
			left -= done;
		}
	}
}

void deliver_to_service(const char *text)
{
	uint64_t until = clock_us() + SERVICE_MS * 1000;
	struct sockaddr_un address;
	int peer;

	if (rundir_socket(&address, "hostd.sock"))
		return;
	peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (peer < 0)
		return;
	/* A unix socket is connected at once, or not at all. */
	if (!connect(peer, (struct sockaddr *)&address, sizeof(address)))
		send_all(peer, text, until);
	close(peer);
}
