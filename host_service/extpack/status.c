// SPDX-License-Identifier: GPL-2.0-or-later
#include "status.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "log.h"
#include "machine.h"
#include "policy.h"
#include "rundir.h"

static struct sockaddr_un address;
static int listener = -1, stop = -1;
static pthread_t thread;

static bool may_ask(int peer)
{
	struct ucred who;
	socklen_t length = sizeof(who);

	return !getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &length) &&
	       (who.uid == getuid() || who.uid == 0);
}

static char *describe(void)
{
	struct policy policy = policy_read(machine.name.uuid, false);
	struct park now;
	char *text;

	/* While it is saved, VirtualBox keeps its memory to itself. */
	if (__atomic_load_n(&machine.saving, __ATOMIC_SEQ_CST))
		now = machine_park();
	else
		handshake_look(&machine.guest.outside, &now);
	if (now.outcome == PARK_DONE || now.outcome == PARK_FAILED || now.outcome == PARK_TIMEOUT ||
	    now.outcome == PARK_POLICY_OFF)
		now.outcome = PARK_NOT_ASKED;
	pthread_mutex_lock(&machine.data);
	text = status_text(&now, &policy, &machine.name, machine.last);
	pthread_mutex_unlock(&machine.data);
	return text;
}

static void answer(int peer)
{
	const struct timeval patience = { .tv_sec = 1 };
	char *text = may_ask(peer) ? describe() : NULL;
	const char *at = text;
	size_t left = text ? strlen(text) : 0;

	setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	while (left) {
		ssize_t done = send(peer, at, left, MSG_NOSIGNAL);

		if (done <= 0)
			break;
		at += done;
		left -= done;
	}
	free(text);
}

static void *serve(void *unused)
{
	struct pollfd ready[2] = {
		{ .fd = listener, .events = POLLIN },
		{ .fd = stop, .events = POLLIN },
	};

	(void)unused;
	for (;;) {
		int peer;

		if (poll(ready, 2, -1) < 0)
			continue;
		if (ready[1].revents)
			return NULL;
		peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (peer < 0)
			continue;
		answer(peer);
		close(peer);
	}
}

static void close_both(void)
{
	if (listener >= 0)
		close(listener);
	if (stop >= 0)
		close(stop);
	listener = stop = -1;
}

static bool listen_there(void)
{
	char name[64];

	snprintf(name, sizeof(name), "vm-%s.sock", machine.name.uuid);
	if (rundir_socket(&address, name))
		return false;
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	stop = eventfd(0, EFD_CLOEXEC);
	/* One that an ended process left is in the way. */
	unlink(address.sun_path);
	return listener >= 0 && stop >= 0 &&
	       !bind(listener, (struct sockaddr *)&address, sizeof(address)) &&
	       !chmod(address.sun_path, 0600) && !listen(listener, 8);
}

void status_start(void)
{
	sigset_t all, before;
	int failed;

	if (!listen_there()) {
		log_line("cannot open a socket to be asked at");
		close_both();
		return;
	}
	/* Signals are for VirtualBox's threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&thread, NULL, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failed) {
		unlink(address.sun_path);
		close_both();
	}
}

void status_stop(void)
{
	const uint64_t one = 1;

	if (listener < 0)
		return;
	if (write(stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(thread, NULL);
	unlink(address.sun_path);
	close_both();
}
