/*
 * survivor memory|files|tcp|pipe: programs that are not excluded and must not notice anything. Each
 * checks itself all the time and says in FOLDER/NAME "ok" and how often, or "bad".
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "victim.h"

#define MEGABYTE (1 << 20)
#define MEMORY (64 * MEGABYTE)
#define BLOCK 65536
#define BLOCKS 16

/* Words that depend on their place, so that a page in a wrong place shows too. */
static void write_pattern(uint64_t *area, size_t bytes, uint64_t salt)
{
	for (size_t i = 0; i < bytes / 8; i++)
		area[i] = (i ^ salt) * 0x9e3779b97f4a7c15u + 1;
}

/* Looks at every step-th word, from `first` on. */
static int is_pattern(const uint64_t *area, size_t bytes, uint64_t salt, int first, int step)
{
	uint64_t wrong = 0;

	for (size_t i = first; i < bytes / 8; i += step)
		wrong |= area[i] ^ ((i ^ salt) * 0x9e3779b97f4a7c15u + 1);
	return !wrong;
}

static void memory(void)
{
	char *area = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t beat = 0;

	if (area == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < MEMORY / MEGABYTE; i++)
		write_pattern((void *)(area + i * MEGABYTE), MEGABYTE, i);
	for (;;) {
		/* All pages in each turn, all words in eight: others want the CPU too. */
		for (int i = 0; i < MEMORY / MEGABYTE; i++) {
			if (!is_pattern((void *)(area + i * MEGABYTE), MEGABYTE, i, beat % 8, 8))
				fail("memory", "a page has changed");
			usleep(10000);
		}
		tell("memory", "ok", ++beat);
	}
}

static void files(void)
{
	static uint64_t out[BLOCK / 8], in[BLOCK / 8];
	int file = open("/root/survivor.data", O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (file < 0)
		die("survivor.data");
	for (uint64_t beat = 1;; beat++) {
		off_t at = beat % BLOCKS * BLOCK;

		write_pattern(out, BLOCK, beat);
		if (pwrite(file, out, BLOCK, at) != BLOCK || fsync(file))
			fail("files", "cannot write");
		if (beat > BLOCKS) {
			at = (beat + 1) % BLOCKS * BLOCK;
			if (pread(file, in, BLOCK, at) != BLOCK ||
			    !is_pattern(in, BLOCK, beat + 1 - BLOCKS, 0, 1))
				fail("files", "a block has changed");
		}
		tell("files", "ok", beat);
		usleep(100000);
	}
}

static void read_all(const char *name, int from, void *to, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t part = read(from, (char *)to + done, length - done);

		if (part <= 0)
			fail(name, "the other end has gone");
		done += part;
	}
}

static void echo(int connection)
{
	uint64_t word;

	for (;;) {
		read_all("tcp", connection, &word, sizeof(word));
		if (write(connection, &word, sizeof(word)) != sizeof(word))
			fail("tcp", "cannot answer");
	}
}

static void tcp(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);
	int server = socket(AF_INET, SOCK_STREAM, 0);
	int client = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(server, (void *)&address, sizeof(address)) || listen(server, 1) ||
	    getsockname(server, (void *)&address, &length))
		die("listen");
	if (!fork())
		echo(accept(server, NULL, NULL));
	if (connect(client, (void *)&address, sizeof(address)))
		die("connect");
	for (uint64_t beat = 1;; beat++) {
		uint64_t answer;

		if (write(client, &beat, sizeof(beat)) != sizeof(beat))
			fail("tcp", "cannot ask");
		read_all("tcp", client, &answer, sizeof(answer));
		if (answer != beat)
			fail("tcp", "another answer");
		tell("tcp", "ok", beat);
		usleep(100000);
	}
}

/* The pipe is mostly full: what is in it at a checkpoint must come out after it. */
static void pipeline(void)
{
	int ends[2];

	if (pipe(ends))
		die("pipe");
	if (!fork())
		for (uint64_t word = 1;; word++)
			if (write(ends[1], &word, sizeof(word)) != sizeof(word))
				fail("pipe", "cannot write");
	for (uint64_t beat = 1;; beat++) {
		uint64_t word;

		read_all("pipe", ends[0], &word, sizeof(word));
		if (word != beat)
			fail("pipe", "a word is missing");
		if (beat % 512)
			continue;
		tell("pipe", "ok", beat);
		usleep(100000);
	}
}

int main(int count, char **arguments)
{
	const char *what = count == 2 ? arguments[1] : "";

	if (!strcmp(what, "memory"))
		memory();
	else if (!strcmp(what, "files"))
		files();
	else if (!strcmp(what, "tcp"))
		tcp();
	else if (!strcmp(what, "pipe"))
		pipeline();
	return 2;
}
