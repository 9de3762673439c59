/*
 * holder SEED [exclude]: holds secrets in every kind of memory of a process, in its threads, a
 * child, and a daemon that has left it; checks them every second. With "exclude" it first asks to
 * be kept out of checkpoints. FOLDER/holder.pids names its processes;
 * FOLDER/{holder,child,daemon} say whether all is as it was.
 *
 * The numbers of the secrets are those of CLASSES in programs.py.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "exclude_self.h"
#include "victim.h"

enum {
	HEAP, HEAP_FREED, STACK, BSS, MMAP, HUGE, THREAD_STACK, ARGV, ENVIRON, CHILD, DAEMON,
	UNMAPPED, ENDED_CHILD, REGISTERS, PRIVATE_FILE, MOVED, BEFORE_FORK, COUNT
};

#define PAGE 4096
#define AREA (1 << 20)
#define FREED (8 << 20)
#define HUGE_PAGE (2 << 20)
#define MAX_HELD 4096

static uint64_t seed;
static char bss[3 * PAGE];
static struct {
	const char *at;
	unsigned int number;
} held[MAX_HELD];
static unsigned int held_count;

static void hold(char *at, unsigned int number)
{
	write_secret(at, seed, number);
	if (held_count < MAX_HELD) {
		held[held_count].at = at;
		held[held_count++].number = number;
	}
}

static void check(const char *name, uint64_t beat)
{
	for (unsigned int i = 0; i < held_count; i++)
		if (!is_secret(held[i].at, seed, held[i].number))
			fail(name, "a secret has changed");
	tell(name, "ok", beat);
}

static void live(const char *name)
{
	for (uint64_t beat = 1;; beat++) {
		check(name, beat);
		sleep(1);
	}
}

static char *map(size_t size, int flags, int file)
{
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, file, 0);

	if (area == MAP_FAILED)
		die("mmap");
	return area;
}

static void fill(char *area, size_t size, unsigned int number)
{
	for (size_t at = 0; at < size; at += PAGE)
		write_secret(area + at + number * 32, seed, number);
	hold(area + number * 32, number);
}

/* Keeps a secret in vector and general registers and nowhere else, asleep most of the time. */
static void *keep_in_registers(void *unused)
{
	struct timespec second = { 1, 0 };
	char buffer[32] = "";

	(void)unused;
	write_secret(buffer, seed, REGISTERS);
	asm volatile("movups (%0), %%xmm8\n\t"
		     "movq 16(%0), %%xmm9\n\t"
		     "movq (%0), %%r12\n\t"
		     "movq 8(%0), %%r13\n\t"
		     "movq 16(%0), %%r14\n\t"
		     "movq $0, (%0)\n\t"
		     "movq $0, 8(%0)\n\t"
		     "movq $0, 16(%0)\n"
		     "1:\n\t"
		     "movl %2, %%eax\n\t"
		     "movq %1, %%rdi\n\t"
		     "xorl %%esi, %%esi\n\t"
		     "syscall\n\t"
		     "jmp 1b"
		     : : "r"(buffer), "r"(&second), "i"(SYS_nanosleep)
		     : "rax", "rdi", "rsi", "rcx", "r11", "r12", "r13", "r14", "memory");
	return NULL;
}

static void *keep_on_stack(void *unused)
{
	volatile char area[3 * PAGE];

	(void)unused;
	hold((char *)area + PAGE, THREAD_STACK);
	for (;;)
		pause();
	return NULL;
}

static void start_threads(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, keep_on_stack, NULL) ||
	    pthread_create(&thread, NULL, keep_in_registers, NULL))
		die("pthread_create");
	usleep(100000);
}

static void hold_areas(void)
{
	char *area, *huge;
	int file;

	hold(malloc(100), HEAP);
	hold(bss + PAGE, BSS);
	fill(map(AREA, MAP_ANONYMOUS, -1), AREA, MMAP);

	huge = map(2 * HUGE_PAGE, MAP_ANONYMOUS, -1);
	huge += -(uintptr_t)huge % HUGE_PAGE;
	madvise(huge, HUGE_PAGE, MADV_HUGEPAGE);
	fill(huge, HUGE_PAGE, HUGE);

	file = open("/proc/self/exe", O_RDONLY);
	hold(map(PAGE, 0, file) + 64, PRIVATE_FILE);
	close(file);

	area = map(AREA, MAP_ANONYMOUS, -1);
	fill(area, AREA, MOVED);
	held_count--;
	area = mremap(area, AREA, 2 * AREA, MREMAP_MAYMOVE);
	if (area == MAP_FAILED)
		die("mremap");
	fill(area, AREA, MOVED);
}

/* Last of all: what is freed is soon used again. */
static void free_areas(void)
{
	char *area = map(FREED, MAP_ANONYMOUS, -1);
	char *heap = malloc(FREED);
	pid_t child;

	fill(area, FREED, UNMAPPED);
	fill(heap, FREED - PAGE, HEAP_FREED);
	child = fork();
	if (!child) {
		fill(map(FREED, MAP_ANONYMOUS, -1), FREED, ENDED_CHILD);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	munmap(area, FREED);
	free(heap);
	held_count -= 2;
}

static void note_pid(void)
{
	FILE *file = fopen(FOLDER "/holder.pids", "a");

	if (!file || fprintf(file, "%d\n", getpid()) < 0 || fclose(file))
		die("holder.pids");
}

static void start_child(void)
{
	if (fork())
		return;
	held_count = 0;
	fill(map(AREA, MAP_ANONYMOUS, -1), AREA, CHILD);
	note_pid();
	live("child");
}

static void start_daemon(void)
{
	pid_t child = fork();

	if (child) {
		waitpid(child, NULL, 0);
		return;
	}
	setsid();
	if (fork())
		_exit(0);
	held_count = 0;
	fill(map(AREA, MAP_ANONYMOUS, -1), AREA, DAEMON);
	note_pid();
	live("daemon");
}

/* Arguments and environment are given by an exec, as a shell would. */
static void exec_again(char *self, char *number)
{
	static char argument[SECRET_LENGTH + 1], variable[SECRET_LENGTH + 8] = "SECRET=";
	char *arguments[] = { self, number, argument, NULL };
	char *environment[] = { variable, NULL };

	write_secret(argument, seed, ARGV);
	write_secret(variable + 7, seed, ENVIRON);
	execve("/proc/self/exe", arguments, environment);
	die("execve");
}

int main(int count, char **arguments)
{
	volatile char stack[2 * PAGE];
	char *shared;

	if (count < 2)
		return 2;
	seed = strtoull(arguments[1], NULL, 16);
	if (count == 3 && !strcmp(arguments[2], "exclude"))
		exclude_self("holder");
	if (!getenv("SECRET"))
		exec_again(arguments[0], arguments[1]);
	hold(arguments[2], ARGV);
	hold(getenv("SECRET"), ENVIRON);
	hold((char *)stack + 100, STACK);
	shared = map(AREA, MAP_ANONYMOUS, -1);
	fill(shared, AREA, BEFORE_FORK);
	hold_areas();
	note_pid();
	start_child();
	start_daemon();
	start_threads();
	free_areas();
	live("holder");
}
