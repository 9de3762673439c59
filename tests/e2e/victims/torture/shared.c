/* Memory files: tmpfs, memfd, POSIX and SysV shared memory, memory shared with relatives. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include "torture.h"

#define PAGE 4096
#define SOME (3 * PAGE)
#define HUGE (2 << 20)
#define AT(name) FOLDER "/torture." name

/* What both have: POSIX shared memory, and memory from before the fork. */
static char *posix, *from_before;
static int posix_file;
static sigjmp_buf back;

static void *map(int file)
{
	char *area = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (area == MAP_FAILED)
		die("mmap");
	return area;
}

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
		die("write");
}

static void open_shared(void)
{
	posix_file = make("/dev/shm/torture.outside");
	if (ftruncate(posix_file, SOME))
		die("ftruncate");
	posix = map(posix_file);
	from_before = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* The guest keeps a few for it. */
static void plant_huge(void)
{
	int sizes = open("/proc/sys/vm/nr_hugepages", O_WRONLY);
	char *area;

	if (sizes < 0 || write(sizes, "2", 1) != 1) {
		unsupported(SHARED_HUGE);
		return;
	}
	close(sizes);
	area = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB,
		    -1, 0);
	if (area == MAP_FAILED)
		unsupported(SHARED_HUGE);
	else
		fill_with(area, SOME, SHARED_HUGE);
}

static int segment(enum class_id id)
{
	int segment = shmget(IPC_PRIVATE, SOME, IPC_CREAT | 0600);
	void *area;

	if (segment < 0)
		die("shmget");
	area = shmat(segment, NULL, 0);
	if (area == (void *)-1)
		die("shmat");
	fill_with(area, SOME, id);
	if (id == SYSV_DETACHED && shmdt(area))
		die("shmdt");
	return segment;
}

static void plant_shared(void)
{
	int file;
	char *area;

	fill_with(posix, SOME, POSIX_OUTSIDER);
	fill_with(from_before, SOME, SHARED_ANONYMOUS);

	file = make("/dev/shm/torture.inside");
	if (ftruncate(file, SOME))
		die("ftruncate");
	fill_with(map(file), SOME, POSIX_SHARED);
	close(file);

	file = memfd_create("torture", MFD_ALLOW_SEALING);
	put(file, MEMFD);
	file = memfd_create("mapped", 0);
	if (ftruncate(file, SOME))
		die("ftruncate");
	area = map(file);
	close(file);
	fill_with(area, SOME, MEMFD_MAPPED);

	put(make(AT("tmpfs")), TMPFS_OPEN);
	file = make(AT("tmpfs-deleted"));
	put(file, TMPFS_DELETED);
	unlink(AT("tmpfs-deleted"));
	plant_huge();
	segment(SYSV_ATTACHED);
	segment(SYSV_DETACHED);
	shmctl(segment(SYSV_REMOVED), IPC_RMID, NULL);
	file = make(AT("tmpfs-closed"));
	put(file, TMPFS_CLOSED);
	close(file);
}

static void free_shared(void)
{
	for (int i = 0; i < 32; i++) {
		int file = memfd_create("freed", 0);

		put(file, MEMFD_FREED);
		close(file);
	}
}

static void no_more(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

/* Whoever looks gets a signal. */
static int is_gone(volatile char *area)
{
	int gone = 1;

	signal(SIGBUS, no_more);
	if (!sigsetjmp(back, 1)) {
		(void)*area;
		gone = 0;
	}
	signal(SIGBUS, SIG_DFL);
	return gone;
}

static void verify_shared(int restored)
{
	struct stat about;

	if (restored) {
		broken_unless(is_gone(posix), "shared memory after a restore");
		broken_unless(is_gone(from_before), "a relative's memory after a restore");
		broken_unless(stat(AT("tmpfs-closed"), &about) || !about.st_size,
			      "a file on tmpfs after a restore");
		return;
	}
	broken_unless(is_filled_with(posix, SOME, 0, POSIX_OUTSIDER), "shared memory");
	broken_unless(is_filled_with(from_before, SOME, 0, SHARED_ANONYMOUS),
		      "a relative's memory");
}

const struct chapter shared = {
	.name = "shared",
	.open = open_shared,
	.plant = plant_shared,
	.plant_freed = free_shared,
	.verify = verify_shared,
};
