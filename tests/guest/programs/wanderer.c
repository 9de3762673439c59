/*
 * wanderer NAME SEED [NUMBER SIDE]: does with memory, threads and processes what chance, begun at
 * SEED, says, and leaves its marker wherever it writes: in no file, pipe or argument. Processes
 * call themselves NAME. Waits for FOLDER/go first; when all of its processes have come to rest
 * FOLDER/SEED.ready appears. Some then stay as they are, others go on, slowly.
 *
 * With NAME "from/to" it forks once across a border: its first process, side 0, becomes
 * side 1 there; the child is side 2, and it and what comes of it call themselves "to".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wanderer.h"

#define STEPS 24
/* Besides the first, and the one across the border. */
#define MOST_AT_REST 2
#define THREAD_STACK (16 * PAGE)

uint32_t seed;
unsigned int number;
unsigned int side;

static char name[16], name_across[16];
static uint64_t state;

/* Between the processes of a program. */
static struct {
	unsigned int numbers;	/* given out */
	unsigned int started;
	unsigned int done;
	unsigned int lasting;	/* that stay when they are done */
} *shared;

void die(const char *what)
{
	perror(what);
	exit(1);
}

void chance_begin(void)
{
	state = mixed((uint64_t)seed << 16 | side << 12 | number);
}

unsigned int chance(unsigned int below)
{
	state = mixed(state);
	return below ? (state >> 32) % below : 0;
}

static void wait_ms(unsigned int ms)
{
	struct timespec time = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&time, NULL);
}

static void share(void)
{
	char path[64];
	int file;

	snprintf(path, sizeof(path), FOLDER "/%u.shared", seed);
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, PAGE))
		die(path);
	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	close(file);
}

/* ---------------------------------------------------------------- threads */

/*
 * The marker stands in registers, and nowhere else in this thread; asleep most of the
 * time, or always running.
 */
static void *keep_in_registers(void *spinning)
{
	static const struct timespec time = { 0, 200000000 };
	uint64_t w0 = marker_word(0), w1 = marker_word(1), w2 = marker_word(2), w3 = marker_word(3);

	if (nice(19) == -1)
		die("nice");
	asm volatile("movq %0, %%r12\n\t"
		     "movq %1, %%r13\n\t"
		     "movq %2, %%r14\n\t"
		     "movq %3, %%r15\n\t"
		     "movq %%r12, %%xmm8\n\t"
		     "movq %%r13, %%xmm9\n\t"
		     "punpcklqdq %%xmm9, %%xmm8\n\t"
		     "movq %%r14, %%xmm15\n\t"
		     "movq %4, %%rbx\n\t"
		     "movq %5, %%rbp\n"
		     "1:\n\t"
		     "pause\n\t"
		     "testq %%rbx, %%rbx\n\t"
		     "jnz 1b\n\t"
		     "movl %6, %%eax\n\t"
		     "movq %%rbp, %%rdi\n\t"
		     "xorl %%esi, %%esi\n\t"
		     "syscall\n\t"
		     "jmp 1b"
		     : : "r"(w0), "r"(w1), "r"(w2), "r"(w3), "g"(spinning), "g"(&time),
			 "i"(SYS_nanosleep)
		     : "rax", "rbx", "rdi", "rsi", "rcx", "r11", "r12", "r13", "r14", "r15",
		       "xmm8", "xmm9", "xmm15", "memory");
	return NULL;
}

static void *keep_on_stack(void *stays)
{
	volatile char area[4 * PAGE];

	for (int i = 0; i < 4; i++)
		mark((char *)area + i * PAGE + (uintptr_t)&area % 2000);
	while (stays)
		pause();
	return NULL;
}

static void start_thread(void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	if (pthread_attr_setstacksize(&attributes, THREAD_STACK) ||
	    pthread_create(&thread, &attributes, run, argument))
		die("pthread_create");
	if (run == keep_on_stack && !argument)
		pthread_join(thread, NULL);
}

/* -------------------------------------------------------------- processes */

static void wander(unsigned int steps);

/* Forks, or does nothing where there are enough: true in the child, which is another one. */
static int another(int lasting)
{
	unsigned int its_number = __atomic_add_fetch(&shared->numbers, 1, __ATOMIC_SEQ_CST);
	pid_t child;

	if (its_number >= MOST_PROCESSES)
		return 0;
	if (lasting &&
	    __atomic_add_fetch(&shared->lasting, 1, __ATOMIC_SEQ_CST) > MOST_AT_REST)
		return 0;
	__atomic_add_fetch(&shared->started, 1, __ATOMIC_SEQ_CST);
	child = fork();
	if (child < 0)
		die("fork");
	if (child)
		return 0;
	number = its_number;
	chance_begin();
	return 1;
}

static void done(void)
{
	__atomic_add_fetch(&shared->done, 1, __ATOMIC_SEQ_CST);
}

/* To the end of the process: at rest, or with small changes. */
static void settle(void)
{
	int restless = !chance(4);

	start_thread(keep_on_stack, "stays");
	start_thread(keep_in_registers, chance(40) ? NULL : "spins");
	wait_ms(20);
	done();
	for (;;) {
		wait_ms(restless ? 100 + chance(300) : 10000000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (!restless)
			continue;
		areas_touch();
		areas_step();
		if (!chance(8) && another(0)) {
			areas_touch();
			done();
			_exit(0);
		}
	}
}

static void fork_one_that_stays(void)
{
	if (!another(1))
		return;
	wander(chance(STEPS));
	settle();
}

static void fork_one_that_ends(void)
{
	if (!another(0))
		return;
	wander(chance(STEPS / 4));
	done();
	_exit(0);
}

static void fork_daemon(void)
{
	pid_t between = fork();

	if (between) {
		waitpid(between, NULL, 0);
		return;
	}
	setsid();
	if (!another(1))
		_exit(0);
	wander(chance(STEPS));
	settle();
}

static void vfork_and_exec(void)
{
	unsigned int its_number = __atomic_add_fetch(&shared->numbers, 1, __ATOMIC_SEQ_CST);
	char text_seed[16], text_number[16], text_side[16];
	char *arguments[] = { "wanderer", name, text_seed, text_number, text_side, NULL };

	if (its_number >= MOST_PROCESSES ||
	    __atomic_add_fetch(&shared->lasting, 1, __ATOMIC_SEQ_CST) > MOST_AT_REST)
		return;
	__atomic_add_fetch(&shared->started, 1, __ATOMIC_SEQ_CST);
	snprintf(text_seed, sizeof(text_seed), "%u", seed);
	snprintf(text_number, sizeof(text_number), "%u", its_number);
	snprintf(text_side, sizeof(text_side), "%u", side);
	if (!vfork()) {
		execv("/proc/self/exe", arguments);
		_exit(1);
	}
}

static void wander(unsigned int steps)
{
	while (steps--) {
		unsigned int what = chance(40);

		if (what == 0)
			fork_one_that_stays();
		else if (what == 1)
			fork_one_that_ends();
		else if (what == 2)
			fork_daemon();
		else if (what == 3)
			vfork_and_exec();
		else if (what == 4)
			start_thread(keep_on_stack, chance(2) ? "stays" : NULL);
		else
			areas_step();
	}
}

static void cross_the_border(void)
{
	int child = another(0);

	side = child ? 2 : 1;
	chance_begin();
	if (!child)
		return;
	strcpy(name, name_across);
	prctl(PR_SET_NAME, name);
	wander(STEPS);
	settle();
}

static void wait_for_the_others(void)
{
	char path[64];

	while (__atomic_load_n(&shared->done, __ATOMIC_SEQ_CST) !=
	       __atomic_load_n(&shared->started, __ATOMIC_SEQ_CST))
		wait_ms(20);
	areas_end();
	snprintf(path, sizeof(path), FOLDER "/%u.ready", seed);
	close(open(path, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
}

static void be_first(void)
{
	while (access(FOLDER "/go", F_OK))
		wait_ms(20);
	wander(STEPS);
	if (name_across[0]) {
		cross_the_border();
		wander(STEPS);
	}
	wait_for_the_others();
	__atomic_add_fetch(&shared->started, 1, __ATOMIC_SEQ_CST);
	settle();
}

int main(int count, char **arguments)
{
	if (count != 3 && count != 5)
		return 2;
	sscanf(arguments[1], "%15[^/]/%15s", name, name_across);
	seed = strtoul(arguments[2], NULL, 10);
	prctl(PR_SET_NAME, name);
	share();
	if (count == 3) {
		chance_begin();
		be_first();
	}
	number = strtoul(arguments[3], NULL, 10);
	side = strtoul(arguments[4], NULL, 10);
	chance_begin();
	wander(STEPS / 2);
	settle();
}
