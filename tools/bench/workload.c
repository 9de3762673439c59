/*
 * workload TIMES: what a guest does all day, the same each time: processes, pipes, sockets,
 * files, memory. Prints how many ns each took by the guest's clock.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROCESSES 40
#define MESSAGES 400
#define FILES 40
#define BYTES 4096
#define AREA (4UL << 20)

static char block[BYTES];

static void must(int good)
{
	if (!good)
		_exit(1);
}

static void processes(void)
{
	for (int i = 0; i < PROCESSES; i++) {
		int status;
		pid_t pid = fork();

		must(pid >= 0);
		if (!pid) {
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		must(waitpid(pid, &status, 0) == pid && !status);
	}
}

static void through(int in, int out)
{
	for (int i = 0; i < MESSAGES; i++) {
		must(write(in, block, BYTES) == BYTES);
		must(read(out, block, BYTES) == BYTES);
	}
	close(in);
	close(out);
}

static void messages(void)
{
	int ends[2];

	must(!pipe(ends));
	through(ends[1], ends[0]);
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	through(ends[1], ends[0]);
}

static void files(void)
{
	for (int i = 0; i < FILES; i++) {
		int file = open("/root/workload.file", O_RDWR | O_CREAT | O_TRUNC, 0600);

		must(file >= 0 && write(file, block, BYTES) == BYTES);
		must(!lseek(file, 0, SEEK_SET) && read(file, block, BYTES) == BYTES);
		must(!close(file) && !unlink("/root/workload.file"));
	}
}

static void memory(void)
{
	char *area = mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(area != MAP_FAILED);
	for (size_t at = 0; at < AREA; at += BYTES)
		area[at] = 1;
	must(!munmap(area, AREA));
}

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

int main(int count, char **words)
{
	int times = count > 1 ? atoi(words[1]) : 0;

	for (int i = 0; i < times; i++) {
		uint64_t start = now();

		processes();
		messages();
		files();
		memory();
		printf("%llu\n", (unsigned long long)(now() - start));
	}
	return !times;
}
