// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * model TURNS FAULTS: what host and guest do with each other around a checkpoint, in every
 * order. The code is the pack's and the module's own; VirtualBox, the kernel's rest and the
 * service are played. An order is tried from its beginning to its end: the usual one with at
 * most so many turns taken out of turn, and so many things that fail. Prints how many orders
 * there were and what came of them, as JSON; or the first one in which something is wrong, which
 * model TURNS FAULTS SCENARIO CHOICE... tries again alone, telling what happens.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "deliver.h"
#include "devices.h"
#include "interpose.h"
#include "log.h"
#include "machine.h"
#include "picture.h"
#include "policy.h"
#include "statefile.h"
#include "vm.h"
#include "world.h"

#define STACK_BYTES	(64 * 1024)
#define MOST_CHOICES	4096
#define SETTLE_TURNS	600
#define TIMEOUT_MS	8
#define SUSPENDED	15
#define RUNNING		5

struct world world;

/* ------------------------------------------------------- what is done to the machine */

enum operation { END, PAUSE, RESUME, SNAPSHOT, SNAPSHOT_OF_PAUSED, LIVE };

static const struct scenario {
	unsigned int number;
	bool excluded;
	enum policy_mode policy;
	enum operation operations[4];
} scenarios[] = {
	{ 0, true, POLICY_STRICT, { SNAPSHOT } },
	{ 1, true, POLICY_STRICT, { LIVE } },
	{ 2, true, POLICY_STRICT, { PAUSE, SNAPSHOT_OF_PAUSED, RESUME } },
	{ 3, true, POLICY_STRICT, { SNAPSHOT, SNAPSHOT } },
	{ 4, true, POLICY_STRICT, { PAUSE, RESUME, LIVE } },
	{ 5, true, POLICY_WARN, { SNAPSHOT } },
	{ 6, true, POLICY_WARN, { LIVE, SNAPSHOT } },
	{ 7, true, POLICY_WARN, { PAUSE, SNAPSHOT_OF_PAUSED, RESUME, SNAPSHOT } },
	{ 8, true, POLICY_OFF, { SNAPSHOT } },
	{ 9, false, POLICY_STRICT, { SNAPSHOT, LIVE } },
};

/* ------------------------------------------------------- which order it is */

static struct {
	unsigned int taken[MOST_CHOICES], count[MOST_CHOICES];
	unsigned int known, at;
} order;

static unsigned int most_turns, most_faults, turns_left, faults_left;
static const struct scenario *scenario;
static bool tell;

static void say(const char *format, ...)
{
	va_list arguments;

	if (!tell || world.settling)
		return;
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

unsigned int world_choose(unsigned int count)
{
	unsigned int at = order.at++;

	if (at == MOST_CHOICES)
		world_wrong("it does not come to an end");
	if (at == order.known) {
		order.taken[at] = 0;
		order.known++;
	}
	order.count[at] = count;
	return order.taken[at];
}

/* The next order; false if that was the last one. */
static bool next_order(void)
{
	while (order.known && order.taken[order.known - 1] + 1 >= order.count[order.known - 1])
		order.known--;
	if (!order.known)
		return false;
	order.taken[order.known - 1]++;
	return true;
}

bool world_fails(void)
{
	if (world.settling || !faults_left || !world_choose(2))
		return false;
	faults_left--;
	say("  this fails");
	return true;
}

/* ------------------------------------------------------- who has the turn */

enum { HOST, POLLER, SERVICE, THREADS };

static const char *const thread_names[] = { "host", "module", "service" };
static ucontext_t contexts[THREADS];
static unsigned char stacks[THREADS][STACK_BYTES] __attribute__((aligned(16)));
static int current;
static int (*poller)(void *data);

static bool may_run(int thread)
{
	return thread == HOST || (world.running && (thread == SERVICE || !world.stopped));
}

static void turn_to(int thread)
{
	int before = current;

	if (thread == before)
		return;
	say(" %s:", thread_names[thread]);
	current = thread;
	swapcontext(&contexts[before], &contexts[thread]);
}

/* The usual one, or another one out of turn. */
static void pick(int usual)
{
	int others[THREADS], count = 0;

	if (!may_run(usual))
		usual = current;
	if (!world.settling && turns_left) {
		for (int thread = 0; thread < THREADS; thread++)
			if (thread != usual && may_run(thread))
				others[count++] = thread;
		count = count ? world_choose(count + 1) : 0;
		if (count) {
			turns_left--;
			usual = others[count - 1];
		}
	}
	turn_to(usual);
}

void world_point(void)
{
	pick(current);
}

void world_wait(void)
{
	int next = current;

	do {
		next = (next + 1) % THREADS;
	} while (!may_run(next));
	pick(next);
}

static void run_poller(void)
{
	poller(NULL);
}

static void start_thread(int thread, void (*function)(void))
{
	getcontext(&contexts[thread]);
	contexts[thread].uc_stack.ss_sp = stacks[thread];
	contexts[thread].uc_stack.ss_size = STACK_BYTES;
	contexts[thread].uc_link = NULL;
	makecontext(&contexts[thread], function, 0);
}

void world_poller(int (*function)(void *data))
{
	poller = function;
	start_thread(POLLER, run_poller);
}

void *world_pages(size_t count)
{
	void *pages = world.ram + world.used * PAGE;

	if (world.used + count > SECRET_PAGE)
		world_wrong("the machine is too small");
	world.used += count;
	return memset(pages, 0, count * PAGE);
}

/* Time: the host waits a millisecond at a time, or for longer than it would. */
int nanosleep(const struct timespec *time, struct timespec *left)
{
	(void)time;
	(void)left;
	world.clock_ns += world_fails() ? 1000000ull * TIMEOUT_MS : 1000000;
	world_wait();
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = world.clock_ns / 1000000000;
	now->tv_nsec = world.clock_ns % 1000000000;
	return 0;
}

/* ------------------------------------------------------- guest memory, for the host */

static bool is_ram(void *context, uint64_t page)
{
	(void)context;
	return page < WORLD_BYTES;
}

static int read_ram(void *context, uint64_t gpa, void *to, size_t bytes)
{
	(void)context;
	memcpy(to, world.ram + gpa, bytes);
	return 0;
}

static int write_ram(void *context, uint64_t gpa, const void *from, size_t bytes)
{
	(void)context;
	if (world_fails())
		return -1;
	memcpy(world.ram + gpa, from, bytes);
	return 0;
}

static int load_word(void *context, uint64_t gpa, uint64_t *word)
{
	(void)context;
	world_point();
	*word = *(uint64_t *)(world.ram + gpa);
	return 0;
}

static int store_word(void *context, uint64_t gpa, uint64_t word)
{
	(void)context;
	world_point();
	*(uint64_t *)(world.ram + gpa) = word;
	say("  asks %u of %u", (unsigned int)word, (unsigned int)(word >> 32));
	return 0;
}

static const struct guest_memory memory = {
	NULL, WORLD_BYTES, is_ram, read_ram, write_ram, load_word, store_word,
};

/* ------------------------------------------------------- VirtualBox */

static struct {
	bool there, clean;
	uint8_t ram[WORLD_BYTES];
	/* Of a live save, what was written while the guest ran is in the file too. */
	bool streamed;
	uint8_t early[WORLD_BYTES];
} file;

static bool damage_told;
static int save_result;

static int suspend(struct uvm *uvm, int reason)
{
	(void)uvm;
	(void)reason;
	world_point();
	if (world_fails())
		return -1;
	world.running = false;
	say("  suspended");
	return 0;
}

static int resume(struct uvm *uvm, int reason)
{
	(void)uvm;
	(void)reason;
	world.running = true;
	say("  resumed");
	world_point();
	return 0;
}

static int write_file(void)
{
	int status = interpose_save_prep(NULL, NULL, NULL);

	if (status)
		return status;
	memcpy(file.ram, world.ram, WORLD_BYTES);
	/* The disk is full, or the user has had enough. */
	return world_fails() ? -1 : 0;
}

static int save(struct uvm *uvm, const char *path, const void *stream, void *stream_user,
		bool goes_on, vbox_progress_fn *progress, void *user, bool *suspended)
{
	(void)path, (void)stream, (void)stream_user, (void)goes_on, (void)progress, (void)user;
	file.streamed = world.running;
	if (file.streamed) {
		memcpy(file.early, world.ram, WORLD_BYTES);
		world_point();
		*suspended = true;
		suspend(uvm, 0);
		world.running = false;
	}
	save_result = write_file();
	interpose_save_done(NULL, NULL, NULL);
	file.there = !save_result;
	say("  %s", save_result ? "not saved" : "saved");
	return save_result;
}

static int save_status(struct ssm *ssm)
{
	(void)ssm;
	return save_result;
}

static int get_state(struct uvm *uvm)
{
	(void)uvm;
	return world.running ? RUNNING : SUSPENDED;
}

static const char *get_state_name(int state)
{
	return state == RUNNING ? "RUNNING" : "SUSPENDED";
}

static void *get_cpu(struct vm *vm)
{
	(void)vm;
	return NULL;
}

static int save_after(struct ssm *ssm)
{
	(void)ssm;
	return 0;
}

static int runtime_error(struct vm *vm, uint32_t flags, const char *id, const char *format, ...)
{
	(void)vm, (void)flags, (void)format;
	damage_told |= !strcmp(id, "SparcMemory");
	return 0;
}

static const struct vmm vmm = {
	.suspend = suspend, .resume = resume, .save = save, .get_state = get_state,
	.get_state_name = get_state_name, .get_cpu = get_cpu, .save_after = save_after,
	.save_status = save_status, .runtime_error = runtime_error,
};

/* What else the pack has, and this is not about. */
bool vm_get_ready(void) { return true; }
void guest_find_video(struct guest *guest) { (void)guest; }
const char *devices_fault(void) { return NULL; }
void devices_begin(uint64_t bytes, bool strict) { (void)bytes, (void)strict; }
const char *devices_end(unsigned int *blanked) { *blanked = 0; return NULL; }
const char *picture_begin(void) { return NULL; }
const char *picture_end(void) { return NULL; }
char *statefile_find(void) { return NULL; }
void log_line(const char *format, ...) { (void)format; }

int deliver_to_file(const char *text, const char *state_file)
{
	(void)text, (void)state_file;
	return 0;
}

/* ------------------------------------------------------- what must hold */

static unsigned long orders, clean, not_clean, refused, restored;

void world_wrong(const char *what)
{
	printf("wrong: %s\n%u %u %u", what, most_turns, most_faults,
	       scenario->number);
	for (unsigned int i = 0; i < order.at && i < order.known; i++)
		printf(" %u", order.taken[i]);
	putchar('\n');
	fflush(stdout);
	_Exit(1);
}

static bool holds(const uint8_t *ram, unsigned int page, uint8_t byte)
{
	for (unsigned int i = 0; i < PAGE; i++)
		if (ram[page * PAGE + i] != byte)
			return false;
	return true;
}

/* Nothing failed, and nobody had to wait for longer than usual. */
static bool undisturbed(void)
{
	return turns_left == most_turns && faults_left == most_faults;
}

/* The one report on a save that has just ended. */
void deliver_to_service(const char *text)
{
	bool said_saved = strstr(text, "\"saved\":true"), said_clean = strstr(text, "\"clean\":true");

	say("  reported: %ssaved, %sclean", said_saved ? "" : "not ", said_clean ? "" : "not ");
	if (said_saved != file.there)
		world_wrong("the report does not know what was saved");
	file.clean = said_clean;
	refused += !file.there;
	clean += file.there && said_clean;
	not_clean += file.there && !said_clean;
	if (undisturbed() && !file.there)
		world_wrong("not saved for no reason");
	if (!file.there || !world.excluded)
		return;
	if (undisturbed() && scenario->policy != POLICY_OFF && !said_clean)
		world_wrong("not clean for no reason");
	if (said_clean && (!holds(file.ram, SECRET_PAGE, 0) || !holds(file.ram, FREED_PAGE, 0) ||
			   file.streamed))
		world_wrong("what looks clean holds a secret");
}

static void settle(void)
{
	world.settling = true;
	for (int i = 0; i < SETTLE_TURNS; i++)
		world_wait();
	if (guest_is_parked())
		world_wrong("the guest stays parked");
	if (world.frozen)
		world_wrong("the guest stays frozen");
	if (!holds(world.ram, OTHERS_PAGE, 1))
		world_wrong("somebody else's memory has changed");
}

static void check_continuing(void)
{
	if (undisturbed() && guest_was_lost())
		world_wrong("the host let go of a guest that nothing was wrong with");
	if (damage_told)
		return;
	if (world.killed)
		world_wrong("killed, although nothing was restored");
	if (!holds(world.ram, SECRET_PAGE, SECRET))
		world_wrong("memory was not put back, and nobody was told");
}

static void check_restored(void)
{
	if (damage_told)
		return;
	if (world.excluded && file.clean != world.killed)
		world_wrong(file.clean ? "restored, and not killed" : "killed, although it was whole");
	if (!file.clean && !holds(world.ram, SECRET_PAGE, SECRET))
		world_wrong("a checkpoint that is not clean is not whole either");
}

/* ------------------------------------------------------- from beginning to end */

struct policy policy_read(const char *uuid, bool say_why)
{
	(void)uuid, (void)say_why;
	return (struct policy){ scenario->policy, TIMEOUT_MS };
}

static void new_host(void)
{
	free(machine.last);
	machine = (struct machine){
		.vmm = vmm,
		.turn = PTHREAD_MUTEX_INITIALIZER,
		.data = PTHREAD_MUTEX_INITIALIZER,
		.guest = { .inside = memory, .outside = memory },
		.name = { "modelled", "0" },
	};
}

static void new_machine(void)
{
	static uint8_t ram[WORLD_BYTES] __attribute__((aligned(PAGE)));

	world = (struct world){ .ram = ram, .used = 1, .excluded = scenario->excluded,
				.running = true };
	memset(ram, 0, WORLD_BYTES);
	memset(ram + SECRET_PAGE * PAGE, SECRET, PAGE);
	memset(ram + FREED_PAGE * PAGE, SECRET, PAGE);
	memset(ram + OTHERS_PAGE * PAGE, 1, PAGE);
	file.there = damage_told = false;
	turns_left = most_turns;
	faults_left = most_faults;
	order.at = 0;
	current = HOST;
	new_host();
	guest_boot();
	start_thread(SERVICE, guest_service);
	/* The service is there before anybody wants something of it. */
	world.settling = true;
	for (int i = 0; i < THREADS; i++)
		world_wait();
	world.settling = false;
}

/* On this host or on one without the pack: with its state the machine is as it was. */
static void restore(bool with_pack)
{
	say("host: restored %s", with_pack ? "with the pack" : "without the pack");
	memcpy(world.ram, file.ram, WORLD_BYTES);
	new_host();
	world.running = false;
	if (with_pack)
		interpose_resume(NULL, VBOX_RESUME_STATE_SAVED);
	else
		resume(NULL, 0);
	settle();
	check_restored();
	restored++;
}

/* Returns false if this was the end of the machine that was saved. */
static bool take_snapshot(bool pauses, bool resumes)
{
	bool suspended = false;
	unsigned int then;
	int status;

	if (pauses && interpose_suspend(NULL, VBOX_SUSPEND_USER))
		return true;
	file.there = false;
	status = interpose_save(NULL, NULL, NULL, NULL, true, NULL, NULL, &suspended);
	then = status ? 0 : world_choose(3);
	if (then) {
		restore(then == 1);
		return false;
	}
	if (resumes || suspended)
		interpose_resume(NULL, 0);
	return true;
}

static bool operate(enum operation operation)
{
	say("host: operation %d", operation);
	switch (operation) {
	case PAUSE:
		interpose_suspend(NULL, VBOX_SUSPEND_USER);
		return true;
	case RESUME:
		interpose_resume(NULL, 0);
		return true;
	case SNAPSHOT:
		return take_snapshot(true, true);
	case SNAPSHOT_OF_PAUSED:
		return world.running || take_snapshot(false, false);
	case LIVE:
		return take_snapshot(false, false);
	default:
		return true;
	}
}

static void try_order(void)
{
	bool goes_on = true;

	new_machine();
	for (int i = 0; goes_on && i < 4 && scenario->operations[i] != END; i++)
		goes_on = operate(scenario->operations[i]);
	if (goes_on) {
		settle();
		check_continuing();
	}
	orders++;
}

static void replay(int count, char **choices)
{
	tell = true;
	for (int i = 0; i < count; i++)
		order.taken[order.known++] = strtoul(choices[i], NULL, 10);
	try_order();
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	most_turns = strtoul(argv[1], NULL, 10);
	most_faults = strtoul(argv[2], NULL, 10);
	if (argc > 3) {
		scenario = &scenarios[strtoul(argv[3], NULL, 10)];
		replay(argc - 4, argv + 4);
		return 0;
	}
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		scenario = &scenarios[i];
		order.known = 0;
		do {
			try_order();
		} while (next_order());
	}
	printf("{\"orders\":%lu,\"clean\":%lu,\"not_clean\":%lu,\"refused\":%lu,\"restored\":%lu}\n",
	       orders, clean, not_clean, refused, restored);
	return 0;
}
