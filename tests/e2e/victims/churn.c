/*
 * churn ROUNDS: what goes on in a machine meanwhile: processes, files, pipes, sockets, terminals,
 * memory come and go, and with them the kernel's buffers of all sizes. None of it is excluded.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "victim.h"

#define MOST (64 << 10)
#define PATH "/root/churn.data"

static char data[MOST];

static void pass_through(int in, int out, size_t size)
{
	if (write(in, data, size) != (ssize_t)size || read(out, data, size) <= 0)
		die("churn");
	close(in);
	close(out);
}

static void streams(size_t size)
{
	int ends[2];

	if (pipe(ends))
		die("pipe");
	pass_through(ends[1], ends[0], size < 4096 ? size : 4096);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		die("socketpair");
	pass_through(ends[0], ends[1], size);
}

static void terminal(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;

	if (master < 0 || grantpt(master) || unlockpt(master))
		die("posix_openpt");
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	if (slave < 0 || write(master, "churn\n", 6) != 6 || read(slave, data, 6) != 6)
		die("terminal");
	close(slave);
	close(master);
}

static void files(size_t size)
{
	int file = open(PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (file < 0 || write(file, data, size) != (ssize_t)size ||
	    pread(file, data, size, 0) != (ssize_t)size)
		die(PATH);
	close(file);
	unlink(PATH);
}

static void memory(size_t size)
{
	char *area = mmap(NULL, 16 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		die("mmap");
	memset(area, 'm', 16 * size);
	munmap(area, 16 * size);
}

static void processes(void)
{
	if (!fork()) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	wait(NULL);
}

int main(int count, char **arguments)
{
	uint64_t state = getpid();

	for (long round = count == 2 ? atol(arguments[1]) : 0; round > 0; round--) {
		size_t size = 1 + next_random(&state) % MOST;

		streams(size);
		terminal();
		files(size);
		memory(size);
		processes();
	}
	return 0;
}
