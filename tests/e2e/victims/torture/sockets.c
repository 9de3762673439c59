/* Sockets: of TCP and UDP here, of unix in unix_sockets.c. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "sockets.h"

#define WINDOW 65536
#define LARGE (2000 * COPY)
#define OWN_SIZE 30000
/* For what is sure to come, in milliseconds. */
#define PATIENCE 20000

/* Ends of pairs: 0 is the outsider's. Families: 0 is IPv4, 1 is IPv6. */
static int tcp[2], tcp6[2], unsent[2], udp[2], udp6[2], incoming[2], listener;
static struct sockaddr_in listening, receiving;
/* Both ends the outsider's own: what waits there is right whatever happens. */
static int own[4][2];

void put_copies(int end, size_t size, enum class_id id)
{
	char *data = malloc(size);

	fill_with(data, size, id);
	if (write(end, data, size) != (ssize_t)size)
		die("write to a socket");
	explicit_bzero(data, size);
	free(data);
}

void take_copies(int end, size_t size)
{
	char *data = malloc(size);

	for (size_t done = 0; done < size;) {
		ssize_t part = read(end, data + done, size - done);

		if (part <= 0)
			die("read from a socket");
		done += part;
	}
	explicit_bzero(data, size);
	free(data);
}

/* ------------------------------------------------------------- what is open */

static socklen_t loopback(struct sockaddr_in6 *room, int six)
{
	struct sockaddr_in *four = (void *)room;

	memset(room, 0, sizeof(*room));
	if (six) {
		room->sin6_family = AF_INET6;
		room->sin6_addr = in6addr_loopback;
		return sizeof(*room);
	}
	four->sin_family = AF_INET;
	four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof(*four);
}

/* A socket bound to a port of its own; its address. */
static int bound(int six, int type, struct sockaddr_in6 *address, socklen_t *length)
{
	int end = socket(six ? AF_INET6 : AF_INET, type, 0);

	*length = loopback(address, six);
	if (end < 0 || bind(end, (void *)address, *length) ||
	    getsockname(end, (void *)address, length))
		die("bind");
	return end;
}

static int connected(int type, void *address, socklen_t length)
{
	int end = socket(((struct sockaddr *)address)->sa_family, type, 0);

	if (end < 0 || connect(end, address, length))
		die("connect");
	return end;
}

static void make(int ends[2], int six, int type)
{
	struct sockaddr_in6 address;
	socklen_t length;
	int first = bound(six, type, &address, &length);

	if (type == SOCK_DGRAM) {
		ends[0] = first;
		ends[1] = connected(type, &address, length);
		return;
	}
	if (listen(first, 5))
		die("listen");
	ends[1] = connected(type, &address, length);
	ends[0] = accept(first, NULL, NULL);
	close(first);
}

/* A pair of the outsider's own, with a pattern in it. */
static void fill_own(int ends[2])
{
	char data[OWN_SIZE];

	for (int i = 0; i < OWN_SIZE; i++)
		data[i] = 'A' + i % 23;
	if (write(ends[1], data, OWN_SIZE) != OWN_SIZE)
		die("write to the outsider");
	outsiders_own(ends[0]);
	outsiders_own(ends[1]);
}

/* Clears what the functions called before have left on the stack. */
static void __attribute__((noinline)) forget_calls(void)
{
	char stack[16384];

	explicit_bzero(stack, sizeof(stack));
}

/* What the one outside sends to the one inside, and has forgotten itself. */
static void send_inside(void)
{
	make(incoming, 0, SOCK_STREAM);
	put_copies(incoming[0], SOME, TCP_INCOMING_READ);
	put_copies(incoming[0], SOME, TCP_INCOMING);
	outsiders_own(incoming[0]);
	forget_calls();
}

static void open_sockets(void)
{
	struct sockaddr_in6 address;
	socklen_t length;
	int window = WINDOW;

	make(own[0], 0, SOCK_STREAM);
	make(own[1], 1, SOCK_STREAM);
	make(own[2], 0, SOCK_DGRAM);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, own[3]))
		die("socketpair");
	for (int i = 0; i < 2; i++)
		fill_own(own[i]);
	send_inside();
	for (int i = 2; i < 4; i++)
		fill_own(own[i]);
	make(tcp, 0, SOCK_STREAM);
	make(tcp6, 1, SOCK_STREAM);
	make(unsent, 0, SOCK_STREAM);
	setsockopt(unsent[0], SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
	setsockopt(unsent[1], SOL_SOCKET, SO_SNDBUF, &window, sizeof(window));
	make(udp, 0, SOCK_DGRAM);
	make(udp6, 1, SOCK_DGRAM);
	length = sizeof(receiving);
	if (getsockname(udp[0], (void *)&receiving, &length))
		die("getsockname");
	listener = bound(0, SOCK_STREAM | SOCK_NONBLOCK, &address, &length);
	memcpy(&listening, &address, sizeof(listening));
	if (listen(listener, 5))
		die("listen");
	outsiders_own(listener);
	outsiders_own(tcp[0]);
	outsiders_own(tcp6[0]);
	outsiders_own(unsent[0]);
	outsiders_own(udp[0]);
	outsiders_own(udp6[0]);
	open_unix();
}

/* -------------------------------------------------------- the one inside */

static void plant_tcp(void)
{
	char data[LARGE];
	int ends[2];

	take_copies(incoming[1], SOME);
	put_copies(tcp[1], SOME, TCP_RECEIVED);
	put_copies(tcp6[1], SOME, TCP_SIX);
	make(ends, 0, SOCK_STREAM);
	put_copies(ends[1], LARGE, TCP_PARTLY);
	take_copies(ends[0], LARGE / 2);

	/* Until neither end has room. */
	fill_with(data, LARGE, TCP_UNSENT);
	for (size_t done = 0;;) {
		size_t from = done % COPY;
		ssize_t part = send(unsent[1], data + from, LARGE - from, MSG_DONTWAIT);

		if (part < 0)
			break;
		done += part;
	}
	memset(data, 0, LARGE);

	put_copies(connected(SOCK_STREAM, &listening, sizeof(listening)), SOME, TCP_UNACCEPTED);
	ends[0] = connected(SOCK_STREAM, &listening, sizeof(listening));
	put_copies(ends[0], SOME, TCP_ORPHAN);
	close(ends[0]);
}

static void plant_error(void)
{
	struct sockaddr_in6 address;
	socklen_t length;
	int on = 1, nobody = bound(0, SOCK_DGRAM, &address, &length), end;

	close(nobody);
	end = connected(SOCK_DGRAM, &address, length);
	if (setsockopt(end, IPPROTO_IP, IP_RECVERR, &on, sizeof(on)))
		die("IP_RECVERR");
	put_copies(end, SOME / 10, UDP_ERROR);
}

static void plant_udp(void)
{
	char data[SOME];
	int ends[2];

	put_copies(udp[1], SOME, UDP_RECEIVED);
	put_copies(udp6[1], SOME, UDP_SIX);
	ends[0] = connected(SOCK_DGRAM, &receiving, sizeof(receiving));
	put_copies(ends[0], SOME, UDP_ORPHAN);
	close(ends[0]);
	make(ends, 0, SOCK_DGRAM);
	for (int i = 0; i < 4; i++)
		put_copies(ends[1], SOME, UDP_PARTLY);
	take_copies(ends[0], SOME);
	make(ends, 0, SOCK_DGRAM);
	put_copies(ends[1], LARGE, UDP_LARGE);
	make(ends, 0, SOCK_DGRAM);
	fill_with(data, SOME, UDP_CORKED);
	if (send(ends[1], data, SOME, MSG_MORE) != SOME)
		die("MSG_MORE");
	memset(data, 0, SOME);
	plant_error();
}

static void plant_packet(void)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				       .sll_ifindex = if_nametoindex("lo") };
	int end = socket(AF_PACKET, SOCK_DGRAM, 0), ends[2];

	if (end < 0 || bind(end, (void *)&address, sizeof(address)))
		die("packet socket");
	make(ends, 0, SOCK_DGRAM);
	put_copies(ends[1], SOME, PACKET_RECEIVED);
	take_copies(ends[0], SOME);
	address.sll_protocol = htons(ETH_P_LOOP);
	bind(end, (void *)&address, sizeof(address));
}

static void plant_sockets(void)
{
	plant_unix();
	plant_tcp();
	plant_udp();
	plant_packet();
}

static void free_sockets(void)
{
	int ends[2], many[MANY][2];

	free_unix();
	make(ends, 0, SOCK_STREAM);
	for (int i = 0; i < MANY; i++) {
		put_copies(ends[1], LARGE / 2, TCP_READ);
		take_copies(ends[0], LARGE / 2);
	}
	for (int i = 0; i < MANY; i++) {
		make(many[i], 0, SOCK_STREAM);
		put_copies(many[i][1], LARGE / 2, TCP_CLOSED);
	}
	for (int i = 0; i < MANY; i++) {
		close(many[i][0]);
		close(many[i][1]);
	}
	make(ends, 0, SOCK_DGRAM);
	for (int i = 0; i < MANY; i++)
		put_copies(ends[1], SOME, UDP_READ);
	for (int i = 0; i < MANY; i++)
		take_copies(ends[0], SOME);
}

/* ------------------------------------------------------- the one outside */

/* Reads all that comes without a pause of so many milliseconds. */
static ssize_t read_all(int end, char *data, size_t size, int pause)
{
	struct pollfd waiting = { .fd = end, .events = POLLIN };
	size_t done = 0;

	while (done < size && poll(&waiting, 1, pause) == 1) {
		ssize_t part = recv(end, data + done, size - done, MSG_DONTWAIT);

		if (part < 0 && errno == ENOTSOCK)
			part = read(end, data + done, size - done);
		if (part < 0 && !done)
			return -1;
		if (part <= 0)
			break;
		done += part;
	}
	return done;
}

/* Ends the program unless it is good; which class it was about. */
static void expect(int good, enum class_id id, int restored)
{
	char words[64];

	snprintf(words, sizeof(words), "class %d, restored %d", id, restored);
	broken_unless(good, words);
}

void verify_stream(int end, size_t size, enum class_id id, int restored)
{
	char *data = malloc(size);
	ssize_t part = read_all(end, data, size, 1000);

	expect(restored ? part <= 0 :
		    part == (ssize_t)size && is_filled_with(data, size, 0, id), id, restored);
	free(data);
}

void verify_message(int end, size_t size, enum class_id id, int restored)
{
	char *data = malloc(size);
	ssize_t part = recv(end, data, size, MSG_DONTWAIT);

	expect(restored ? part <= 0 :
		    part == (ssize_t)size && is_filled_with(data, size, 0, id), id, restored);
	free(data);
}

static void verify_own(void)
{
	char data[OWN_SIZE], words[64];

	for (int i = 0; i < 4; i++) {
		ssize_t size = read_all(own[i][0], data, OWN_SIZE, PATIENCE);

		snprintf(words, sizeof(words), "the outsider's pair %d: %zd bytes", i, size);
		broken_unless(size == OWN_SIZE, words);
		for (int j = 0; j < OWN_SIZE; j++)
			broken_unless(data[j] == 'A' + j % 23, "bytes of the outsider's");
		/* And it goes on. */
		broken_unless(write(own[i][1], "more", 4) == 4 &&
			      read_all(own[i][0], data, 4, PATIENCE) == 4 && !memcmp(data, "more", 4),
			      "the outsider's, afterwards");
	}
}

static void verify_accepted(int restored)
{
	static const enum class_id ids[] = { TCP_UNACCEPTED, TCP_ORPHAN };

	for (int i = 0; i < 2; i++) {
		int end = accept(listener, NULL, NULL);

		if (end >= 0)
			verify_stream(end, SOME, ids[i], restored);
		else
			broken_unless(restored, "a connection that was not accepted");
	}
}

static void verify_sockets(int restored)
{
	verify_own();
	verify_stream(tcp[0], SOME, TCP_RECEIVED, restored);
	verify_stream(tcp6[0], SOME, TCP_SIX, restored);
	verify_stream(unsent[0], LARGE, TCP_UNSENT, restored);
	verify_accepted(restored);
	verify_message(udp[0], SOME, UDP_RECEIVED, restored);
	verify_message(udp[0], SOME, UDP_ORPHAN, restored);
	verify_message(udp6[0], SOME, UDP_SIX, restored);
	verify_unix(restored);
}

const struct chapter sockets = {
	.name = "sockets",
	.open = open_sockets,
	.plant = plant_sockets,
	.plant_freed = free_sockets,
	.verify = verify_sockets,
};
