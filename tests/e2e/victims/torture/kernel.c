/* What the kernel has of a process besides its files: signals, keys, stacks, and what it freed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "torture.h"

#define PROGRAM_PATH "/root/torture.no-program"
#define SIGNALS 8
#define THREADS 48
#define MANY_THREADS 160
#define MESSAGES 32

/* Of several sizes: what is freed is soon used again for something of its own size. */
static const size_t sizes[] = { 90, 180, 400, 900, 7900, 3900, 1900 };
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static long session_key;

static long add_key(const char *name, const void *data, size_t size, long ring)
{
	long key = syscall(SYS_add_key, data ? "user" : "keyring", name, data, size, ring);

	if (key < 0)
		die("add_key");
	return key;
}

static long add_secret(const char *name, enum class_id id, long ring)
{
	char data[20 * COPY];

	fill_with(data, sizeof(data), id);
	return add_key(name, data, sizeof(data), ring);
}

/* Both sides have this session. */
static void open_kernel(void)
{
	char nothing[20 * COPY] = "nothing yet";

	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0)
		die("keyctl");
	session_key = add_key("torture", nothing, sizeof(nothing), KEY_SPEC_SESSION_KEYRING);
}

static void plant_keys(void)
{
	char data[20 * COPY];
	long ring;

	add_secret("torture", KERNEL_KEY, KEY_SPEC_PROCESS_KEYRING);
	fill_with(data, sizeof(data), KERNEL_KEY_SESSION);
	if (syscall(SYS_keyctl, KEYCTL_UPDATE, session_key, data, sizeof(data)))
		die("keyctl");
	ring = add_key("torture ring", NULL, 0, KEY_SPEC_SESSION_KEYRING);
	/* More than there is room for in one node. */
	for (int i = 0; i < 40; i++) {
		char name[16];

		snprintf(name, sizeof(name), "in ring %d", i);
		add_secret(name, KERNEL_KEY_LINKED, ring);
	}
}

/* Of a signal the kernel keeps 48 bytes, of which a program may choose the last 32. */
static void queue_signal(enum class_id id, int number)
{
	siginfo_t info = { .si_code = -60 };

	info.si_signo = number;
	memcpy((char *)&info + 24, secret(id), SECRET_LENGTH);
	if (syscall(SYS_rt_sigqueueinfo, getpid(), number, &info))
		die("rt_sigqueueinfo");
	memset(&info, 0, sizeof(info));
}

static void plant_signals(void)
{
	sigset_t set;

	/* Before there are threads that would take them. */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < SIGNALS; i++)
		queue_signal(KERNEL_SIGNAL, SIGRTMIN);
}

static void free_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	for (int i = 0; i < 10 * SIGNALS; i++)
		queue_signal(KERNEL_SIGNAL_TAKEN, SIGRTMIN + 1);
	for (int i = 0; i < 10 * SIGNALS; i++)
		if (sigwaitinfo(&set, NULL) < 0)
			die("sigwaitinfo");
}

/* The sets are copied to the kernel's stack; their descriptors are not all open. */
static void leave_on_stack(enum class_id id)
{
	union {
		fd_set set;
		char text[sizeof(fd_set)];
	} in, out;
	struct timeval none = { 0, 0 };

	fill_with(in.text, sizeof(in.text), id);
	fill_with(out.text, sizeof(out.text), id);
	select(256, &in.set, &out.set, NULL, &none);
	memset(&in, 0, sizeof(in));
	memset(&out, 0, sizeof(out));
}

static void *sleeper(void *ready)
{
	leave_on_stack(KERNEL_STACK);
	pthread_barrier_wait(ready);
	for (;;)
		pause();
	return NULL;
}

static void plant_stacks(void)
{
	static pthread_barrier_t ready;
	pthread_t thread;

	/* Room for as many descriptors as the sets have. */
	if (dup2(0, 255) < 0)
		die("dup2");
	pthread_barrier_init(&ready, NULL, 5);
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread, NULL, sleeper, &ready))
			die("pthread_create");
	pthread_barrier_wait(&ready);
}

static pthread_barrier_t all_there;

static void *on_stack(void *unused)
{
	pthread_barrier_wait(&all_there);
	leave_on_stack(KERNEL_STACK_ENDED);
	syscall(SYS_exit, 0);
	return unused;
}

/* r15 to r13 lie one after the other where the kernel saves them, and so do xmm0 and xmm1. */
static void *in_registers(void *unused)
{
	char data[32] = "";

	pthread_barrier_wait(&all_there);
	memcpy(data, secret(KERNEL_REGISTERS_ENDED), SECRET_LENGTH);
	asm volatile("movups (%0), %%xmm0\n\tmovups 16(%0), %%xmm1\n\t"
		     "mov (%0), %%r15\n\tmov 8(%0), %%r14\n\tmov 16(%0), %%r13\n\t"
		     "mov %1, %%eax\n\tsyscall\n\t"
		     "xor %%edi, %%edi\n\tmov %2, %%eax\n\tsyscall"
		     : : "r"(data), "i"(SYS_sched_yield), "i"(SYS_exit)
		     : "rax", "rdi", "rcx", "r11", "r13", "r14", "r15", "xmm0", "xmm1", "memory");
	return unused;
}

static void run_threads(void *(*what)(void *), int count)
{
	pthread_t threads[MANY_THREADS];

	pthread_barrier_init(&all_there, NULL, count);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], NULL, what, NULL))
			die("pthread_create");
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void free_messages(void)
{
	int queue = msgget(IPC_PRIVATE, 0600), other = msgget(IPC_PRIVATE, 0600);
	struct {
		long type;
		char text[7900];
	} message = { .type = 1 };

	for (int i = 0; i < MESSAGES; i++) {
		size_t size = sizes[i % SIZES] / 4;

		fill_with(message.text, size, KERNEL_MESSAGE);
		if (msgsnd(queue, &message, size, 0))
			die("msgsnd");
		fill_with(message.text, size, KERNEL_QUEUE_REMOVED);
		if (msgsnd(other, &message, size, 0))
			die("msgsnd");
	}
	for (int i = 0; i < MESSAGES; i++)
		if (msgrcv(queue, &message, sizeof(message.text), 0, 0) < 0)
			die("msgrcv");
	msgctl(queue, IPC_RMID, NULL);
	msgctl(other, IPC_RMID, NULL);
}

/* A file that may be run and cannot be. */
static void fail_to_run(void)
{
	static char argument[100000];
	char *arguments[] = { PROGRAM_PATH, argument, NULL };
	int file = open(PROGRAM_PATH, O_CREAT | O_WRONLY | O_TRUNC, 0700);

	if (file < 0 || write(file, "no program\n", 11) != 11 || close(file))
		die(PROGRAM_PATH);
	fill_with(argument, sizeof(argument) - 1, KERNEL_ARGUMENTS);
	execv(PROGRAM_PATH, arguments);
	if (errno != ENOEXEC)
		die("execv");
}

static void refuse_path(char *data, size_t size)
{
	struct stat status;
	char path[4000] = "/dev/null/";

	fill_with(data, size, KERNEL_PATH);
	memcpy(path + 10, data, size < 3900 ? size : 3900);
	if (!stat(path, &status))
		die(path);
}

static void refuse_option(void)
{
	static struct sock_filter data[4000];
	struct sock_fprog program = { 4000, data };
	int end = socket(AF_UNIX, SOCK_DGRAM, 0);

	fill_with((char *)data, sizeof(data), KERNEL_OPTION);
	if (!setsockopt(end, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		die("setsockopt");
	close(end);
}

static void refuse_control(char *data, size_t size)
{
	struct iovec nothing = { "", 1 };
	struct msghdr message = { .msg_iov = &nothing, .msg_iovlen = 1 };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends))
		die("socketpair");
	fill_with(data, size, KERNEL_CONTROL);
	message.msg_control = data;
	message.msg_controllen = size;
	if (sendmsg(ends[0], &message, 0) >= 0)
		die("sendmsg");
	close(ends[0]);
	close(ends[1]);
}

static void refuse_mount(char *data, size_t size)
{
	fill_with(data, size, KERNEL_MOUNT);
	if (!mount("none", "/root", "no-such-type", 0, data))
		die("mount");
}

static void refuse_attribute(char *data, size_t size)
{
	fill_with(data, size, KERNEL_ATTRIBUTE);
	if (!setxattr("/proc/version", "user.torture", data, size, 0))
		die("setxattr");
}

static void refuse_parameter(char *data, size_t size)
{
	int file = open("/proc/sys/kernel/printk_ratelimit", O_WRONLY);

	fill_with(data, size, KERNEL_SYSCTL);
	if (file < 0 || write(file, data, size) >= 0)
		die("/proc/sys/kernel/printk_ratelimit");
	close(file);
}

static void refuse(void)
{
	void (*const all[])(char *, size_t) = {
		refuse_path, refuse_control, refuse_parameter, refuse_attribute, refuse_mount,
	};
	static const size_t own[5][2] = {
		{ 90, 3500 }, { 180, 900 }, { 1900, 3900 }, { 7900, 7000 }, { 400, 4000 },
	};
	char data[8000] = "";

	refuse_option();
	fail_to_run();
	/* Each has sizes of its own: its places are not used again by the next. */
	for (size_t i = 0; i < 5; i++)
		for (size_t j = 0; j < 2; j++)
			all[i](data, own[i][j]);
}

static void plant_kernel(void)
{
	plant_keys();
	plant_signals();
	plant_stacks();
}

static void free_kernel(void)
{
	free_messages();
	free_signals();
	/* More of the first: the stacks of some are used again by the second. */
	run_threads(on_stack, MANY_THREADS);
	run_threads(in_registers, THREADS);
	refuse();
}

static void verify_kernel(int restored)
{
	char data[20 * COPY];
	long size = syscall(SYS_keyctl, KEYCTL_READ, session_key, data, sizeof(data));

	if (restored)
		broken_unless(size < 0 && errno == EKEYREVOKED, "a key after a restore");
	else
		broken_unless(size == sizeof(data) &&
			      is_filled_with(data, size, 0, KERNEL_KEY_SESSION), "a key");
}

const struct chapter kernel = {
	.name = "kernel",
	.open = open_kernel,
	.plant = plant_kernel,
	.plant_freed = free_kernel,
	.verify = verify_kernel,
};
