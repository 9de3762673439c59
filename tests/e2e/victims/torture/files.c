/* Files on a disk: what the page cache has of them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "torture.h"

#define PAGE 4096
#define SOME (3 * PAGE)
#define AT(name) "/root/torture." name

/* What the one outside has: a mapped file that the other one writes, and one of its own. */
static int written_by_other, passed[2];
static char *mapped, *own;

/* Another one each time: an earlier one may be known as an excluded process's. */
static int make(const char *path)
{
	int file;

	unlink(path);
	file = open(path, O_RDWR | O_CREAT, 0600);
	if (file < 0)
		die(path);
	return file;
}

static void put(int file, enum class_id id)
{
	char data[SOME];

	fill_with(data, SOME, id);
	if (write(file, data, SOME) != SOME)
		die("write to a file");
}

static void take(int file)
{
	char data[SOME];

	if (pread(file, data, SOME, 0) != SOME)
		die("read from a file");
}

/* On the disk already, by a process that is no more. */
static void was_there(const char *path, enum class_id id)
{
	pid_t child = fork();
	int status;

	if (!child) {
		int file = make(path);

		put(file, id);
		_exit(fsync(file) ? 1 : 0);
	}
	if (waitpid(child, &status, 0) != child || status)
		die(path);
}

static void fill_own(char *at)
{
	for (int i = 0; i < SOME; i++)
		at[i] = "what the one outside has "[i % 25];
}

/* In a message that nobody has received yet: not open anywhere. */
static void pass_one(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec vector = { "x", 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int file = open(AT("passed"), O_RDONLY);

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, passed))
		die("socketpair");
	memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
	if (sendmsg(passed[0], &message, 0) != 1)
		die("sendmsg");
	close(file);
}

static void open_files(void)
{
	static char zeros[SOME];
	int file = make(AT("own"));

	was_there(AT("read"), FILE_READ);
	was_there(AT("sent"), FILE_SENT);
	was_there(AT("mapped-read"), FILE_MAPPED_READ);
	was_there(AT("read-closed"), FILE_READ_CLOSED);
	was_there(AT("passed"), FILE_PASSED);
	written_by_other = make(AT("outside"));
	if (write(written_by_other, zeros, SOME) != SOME || write(file, zeros, SOME) != SOME)
		die("write");
	own = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	mapped = mmap(NULL, SOME, PROT_READ, MAP_SHARED, written_by_other, 0);
	close(written_by_other);
	if (own == MAP_FAILED || mapped == MAP_FAILED || mapped[0] || mapped[PAGE] ||
	    mapped[2 * PAGE])
		die("mmap");
	fill_own(own);
	pass_one();
}

/* Received, mapped, read and let go of. */
static void plant_passed(void)
{
	char room[CMSG_SPACE(sizeof(int))], byte;
	struct iovec vector = { &byte, 1 };
	struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1, .msg_control = room,
				  .msg_controllen = sizeof(room) };
	volatile char *area;
	int file;

	if (recvmsg(passed[1], &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		die("recvmsg");
	memcpy(&file, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(file));
	area = mmap(NULL, SOME, PROT_READ, MAP_SHARED, file, 0);
	if (area == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < SOME; i += PAGE)
		(void)area[i];
	munmap((void *)area, SOME);
	close(file);
}

static void plant_sent(void)
{
	int file = open(AT("sent"), O_RDONLY), nowhere = open("/dev/null", O_WRONLY), ends[2];
	off_t start = 0;

	if (pipe(ends) || sendfile(ends[1], file, &start, SOME) != SOME ||
	    splice(ends[0], NULL, nowhere, NULL, SOME, 0) <= 0)
		die("sendfile");
}

static void plant_mapped(void)
{
	int file = make(AT("mapped"));
	volatile char *area;

	if (ftruncate(file, SOME))
		die("ftruncate");
	area = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	fill_with((char *)area, SOME, FILE_MAPPED);

	file = open(AT("mapped-read"), O_RDONLY);
	area = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	close(file);
	for (int i = 0; i < SOME; i += PAGE)
		(void)area[i];
}

static void plant_files(void)
{
	int file;

	take(open(AT("read"), O_RDONLY));
	put(make(AT("written")), FILE_WRITTEN);
	file = make(AT("synced"));
	put(file, FILE_SYNCED);
	if (fsync(file))
		die("fsync");
	written_by_other = open(AT("outside"), O_WRONLY);
	put(written_by_other, FILE_OUTSIDER);
	close(written_by_other);

	file = make(AT("deleted"));
	put(file, FILE_DELETED);
	unlink(AT("deleted"));
	close(make(AT("appended")));
	file = open(AT("appended"), O_WRONLY | O_APPEND);
	put(file, FILE_APPENDED);
	put(file, FILE_APPENDED);
	plant_mapped();
	plant_sent();
	plant_passed();
}

/* Else the secrets of all other classes would stand in the core too. */
static void dump_nothing(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[512];

	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &start, &end) == 2)
			madvise((void *)start, end - start, MADV_DONTDUMP);
}

static void plant_core(void)
{
	struct rlimit any = { RLIM_INFINITY, RLIM_INFINITY };
	int pattern = open("/proc/sys/kernel/core_pattern", O_WRONLY);
	pid_t child;

	if (pattern < 0 || write(pattern, AT("core"), sizeof(AT("core")) - 1) < 0)
		die("core_pattern");
	close(pattern);
	unlink(AT("core"));
	child = fork();
	if (!child) {
		char *area;

		dump_nothing();
		area = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (area == MAP_FAILED || madvise(area, SOME, MADV_DODUMP))
			die("mmap");
		fill_with(area, SOME, FILE_CORE);
		setrlimit(RLIMIT_CORE, &any);
		abort();
	}
	waitpid(child, NULL, 0);
	if (access(AT("core"), F_OK))
		die(AT("core"));
}

static void free_files(void)
{
	int file = open(AT("read-closed"), O_RDONLY);
	char path[64];

	take(file);
	close(file);
	plant_core();
	file = make(AT("written-closed"));
	put(file, FILE_WRITTEN_CLOSED);
	close(file);
	/* Many: free pages are soon used again. */
	for (int i = 0; i < 64; i++) {
		snprintf(path, sizeof(path), AT("removed.%d"), i);
		file = make(path);
		put(file, FILE_REMOVED);
		close(file);
		unlink(path);
	}
}

static void has(const char *path, enum class_id id)
{
	int file = open(path, O_RDONLY);
	char data[SOME];

	broken_unless(file >= 0 && read(file, data, SOME) == SOME, path);
	broken_unless(is_filled_with(data, SOME, 0, id), path);
	close(file);
}

/* After a restore all come from the disk. */
static void verify_files(int restored)
{
	char data[SOME];

	(void)restored;
	broken_unless(is_filled_with(mapped, SOME, 0, FILE_OUTSIDER), "a mapped file");
	has(AT("read"), FILE_READ);
	has(AT("written"), FILE_WRITTEN);
	has(AT("synced"), FILE_SYNCED);
	has(AT("appended"), FILE_APPENDED);
	has(AT("mapped"), FILE_MAPPED);
	has(AT("mapped-read"), FILE_MAPPED_READ);
	has(AT("sent"), FILE_SENT);
	has(AT("passed"), FILE_PASSED);
	has(AT("read-closed"), FILE_READ_CLOSED);
	has(AT("written-closed"), FILE_WRITTEN_CLOSED);
	has(AT("outside"), FILE_OUTSIDER);
	fill_own(data);
	broken_unless(!memcmp(own, data, SOME), "a file of its own");
}

const struct chapter files = {
	.name = "files",
	.open = open_files,
	.plant = plant_files,
	.plant_freed = free_files,
	.verify = verify_files,
};
