/* Unix sockets: part of the chapter `sockets`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "sockets.h"

#define LARGE (4000 * COPY)
#define LISTENER_PATH FOLDER "/torture.listener"
#define DATAGRAM_PATH FOLDER "/torture.datagram"

/* Ends of pairs: 0 is the outsider's. */
static int stream[2], datagram[2], packets[2], passing[2], listener, named;

static void make(int ends[2], int type)
{
	if (socketpair(AF_UNIX, type, 0, ends))
		die("socketpair");
}

static int bound(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int end = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, path);
	unlink(path);
	if (bind(end, (void *)&address, sizeof(address)))
		die(path);
	outsiders_own(end);
	return end;
}

static int connected(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int end = socket(AF_UNIX, type, 0);

	strcpy(address.sun_path, path);
	if (connect(end, (void *)&address, sizeof(address)))
		die(path);
	return end;
}

/* Sends an open file along with a byte; closes it here. */
static void pass(int end, int passed)
{
	char room[CMSG_SPACE(sizeof(int))] = "", byte = '.';
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1,
				  .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *control = CMSG_FIRSTHDR(&message);

	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(control), &passed, sizeof(int));
	if (sendmsg(end, &message, 0) != 1)
		die("sendmsg");
	close(passed);
}

/* What was passed, or -1: nothing is there. */
static int received(int end)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1,
				  .msg_control = room, .msg_controllen = sizeof(room) };
	int passed;

	if (recvmsg(end, &message, MSG_DONTWAIT) != 1)
		return -1;
	memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return passed;
}

void open_unix(void)
{
	make(stream, SOCK_STREAM);
	make(datagram, SOCK_DGRAM);
	make(packets, SOCK_SEQPACKET);
	make(passing, SOCK_STREAM);
	outsiders_own(stream[0]);
	outsiders_own(datagram[0]);
	outsiders_own(packets[0]);
	outsiders_own(passing[0]);
	listener = bound(LISTENER_PATH, SOCK_STREAM);
	if (listen(listener, 5))
		die("listen");
	named = bound(DATAGRAM_PATH, SOCK_DGRAM);
}

static void plant_passed(void)
{
	int ends[2], inner[2], outer[2];

	if (pipe(ends))
		die("pipe");
	put_copies(ends[1], SOME, UNIX_PASSED);
	close(ends[1]);
	pass(passing[1], ends[0]);

	/* Kept here, but nowhere else than in a socket that is in another one. */
	make(inner, SOCK_STREAM);
	put_copies(inner[1], SOME, UNIX_NESTED);
	make(outer, SOCK_STREAM);
	pass(outer[1], inner[0]);
	make(ends, SOCK_STREAM);
	pass(ends[1], outer[0]);
	close(inner[1]);
	close(outer[1]);
}

void plant_unix(void)
{
	int ends[2];

	put_copies(stream[1], SOME, UNIX_STREAM);
	put_copies(datagram[1], SOME, UNIX_DATAGRAM);
	put_copies(packets[1], SOME, UNIX_SEQPACKET);
	put_copies(connected(LISTENER_PATH, SOCK_STREAM), SOME, UNIX_UNACCEPTED);
	ends[0] = connected(DATAGRAM_PATH, SOCK_DGRAM);
	put_copies(ends[0], SOME, UNIX_ORPHAN);
	close(ends[0]);
	make(ends, SOCK_STREAM);
	put_copies(ends[1], LARGE, UNIX_PARTLY);
	take_copies(ends[0], LARGE / 3);
	plant_passed();
}

/* All are filled before any is emptied: what is freed is soon used again. */
void free_unix(void)
{
	int closed[MANY][2], streams[MANY][2], datagrams[MANY][2];

	for (int i = 0; i < MANY; i++) {
		make(closed[i], SOCK_STREAM);
		make(streams[i], SOCK_STREAM);
		make(datagrams[i], SOCK_DGRAM);
		put_copies(closed[i][1], LARGE, UNIX_CLOSED);
		put_copies(streams[i][1], LARGE, UNIX_READ);
		for (int j = 0; j < 4; j++)
			put_copies(datagrams[i][1], SOME, UNIX_DATAGRAM_READ);
	}
	for (int i = 0; i < MANY; i++) {
		close(closed[i][0]);
		close(closed[i][1]);
	}
	for (int i = 0; i < MANY; i++) {
		take_copies(streams[i][0], LARGE);
		for (int j = 0; j < 4; j++)
			take_copies(datagrams[i][0], SOME);
	}
}

static void verify_passed(int restored)
{
	int passed = received(passing[0]);

	if (restored) {
		broken_unless(passed == -1, "a passed pipe after a restore");
		return;
	}
	broken_unless(passed != -1, "no passed pipe");
	verify_stream(passed, SOME, UNIX_PASSED, 0);
}

void verify_unix(int restored)
{
	int accepted;

	close(stream[1]);
	close(datagram[1]);
	close(packets[1]);
	close(passing[1]);
	verify_stream(stream[0], SOME, UNIX_STREAM, restored);
	verify_message(packets[0], SOME, UNIX_SEQPACKET, restored);
	verify_message(datagram[0], SOME, UNIX_DATAGRAM, restored);
	verify_message(named, SOME, UNIX_ORPHAN, restored);
	verify_passed(restored);
	accepted = accept(listener, NULL, NULL);
	if (accepted >= 0)
		verify_stream(accepted, SOME, UNIX_UNACCEPTED, restored);
	else
		broken_unless(restored, "a unix connection that was not accepted");
}
