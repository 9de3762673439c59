/*
 * statue traced|vfork|contained|dying SEED: holds a secret in processes that stand in the way of
 * whoever wants everybody to stand still, or do not stand still themselves. FOLDER/statue.pid
 * names the first of them, once the secret is in place.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "victim.h"

#define PAGE 4096
#define PAGES 256

static uint64_t seed;

static void hold(void)
{
	char *area = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < PAGES; i++)
		write_secret(area + i * PAGE, seed, 0);
}

/* Its pid in the outermost namespace is known to who started it. */
static void ready(void)
{
	FILE *file = fopen(FOLDER "/statue.pid", "w");

	if (!file || fprintf(file, "%d\n", getpid()) < 0 || fclose(file))
		die("statue.pid");
}

static void rest(void)
{
	for (;;)
		pause();
}

/* Stopped by who traces it, and not by a signal that the stopped one could be sent. */
static void traced(void)
{
	pid_t child = fork();
	int status;

	if (!child) {
		hold();
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
			die("ptrace");
		rest();
	}
	if (child < 0 || waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status))
		die("waitpid");
	hold();
	ready();
	rest();
}

/* Waits in the kernel until its child, which has the same memory, calls exec or ends. */
static void waiting(void)
{
	hold();
	ready();
	if (!vfork())
		rest();
}

/* The first of its own pid namespace, with mounts of its own. */
static void contained(void)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS))
		die("unshare");
	if (!fork()) {
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		    mount("none", "/mnt", "tmpfs", 0, NULL))
			die("mount");
		hold();
		if (fork())
			rest();
		hold();
		rest();
	}
	sleep(1);
	ready();
	rest();
}

/* At any moment some of them are being born, calling exec, or ending. */
static void dying(char *self)
{
	hold();
	ready();
	for (unsigned int i = 0;; i++) {
		pid_t child = fork();

		if (!child) {
			hold();
			if (i % 2)
				execl(self, self, "end", "0", NULL);
			_exit(0);
		}
		while (waitpid(-1, NULL, i % 4 ? WNOHANG : 0) > 0)
			;
	}
}

int main(int count, char **arguments)
{
	const char *mode = count == 3 ? arguments[1] : "";

	if (count == 3)
		seed = strtoull(arguments[2], NULL, 16);
	if (!strcmp(mode, "end"))
		return 0;
	if (!strcmp(mode, "traced"))
		traced();
	if (!strcmp(mode, "vfork"))
		waiting();
	if (!strcmp(mode, "contained"))
		contained();
	if (!strcmp(mode, "dying"))
		dying(arguments[0]);
	return 2;
}
