/* Pipes and FIFOs. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "torture.h"

#define PAGE 4096
#define SOME (3 * PAGE)
/* Whatever comes after takes free pages, the last ones first. */
#define MANY 128
#define FIFO_PATH FOLDER "/torture.fifo"
#define FILE_PATH "/root/torture.spliced"

/* Ends that both sides have: 0 is read by the one outside. */
static int to_outside[2], fifo;

static void make(int ends[2], int flags)
{
	if (pipe2(ends, flags))
		die("pipe2");
}

static void put(int end, size_t size, enum class_id id)
{
	char *data = malloc(size);

	fill_with(data, size, id);
	if (write(end, data, size) != (ssize_t)size)
		die("write to a pipe");
	free(data);
}

static void take(int end, size_t size)
{
	char *data = malloc(size);

	if (read(end, data, size) != (ssize_t)size)
		die("read from a pipe");
	free(data);
}

static void open_pipes(void)
{
	make(to_outside, 0);
	unlink(FIFO_PATH);
	if (mkfifo(FIFO_PATH, 0600))
		die(FIFO_PATH);
	fifo = open(FIFO_PATH, O_RDWR | O_NONBLOCK);
	if (fifo < 0)
		die(FIFO_PATH);
}

static void plant_spliced(void)
{
	int ends[2], file = open(FILE_PATH, O_RDWR | O_CREAT | O_TRUNC, 0600);
	char data[SOME];
	loff_t start = 0;

	make(ends, 0);
	fill_with(data, SOME, PIPE_SPLICED);
	if (file < 0 || write(file, data, SOME) != SOME || fsync(file) ||
	    splice(file, &start, ends[1], NULL, SOME, 0) <= 0)
		die("splice");
}

static void plant_vmspliced(void)
{
	char *area = mmap(NULL, SOME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec vector = { area, SOME };
	int ends[2];

	make(ends, 0);
	fill_with(area, SOME, PIPE_VMSPLICED);
	if (vmsplice(ends[1], &vector, 1, SPLICE_F_GIFT) != SOME)
		die("vmsplice");
	/* From here on the pipe alone has these pages. */
	munmap(area, SOME);
}

static void plant_pipes(void)
{
	int ends[2], other[2];

	make(ends, 0);
	put(ends[1], 16 * PAGE, PIPE_FULL);

	make(ends, 0);
	put(ends[1], SOME, PIPE_PARTLY);
	take(ends[0], SOME / 2);

	make(ends, O_DIRECT);
	for (int i = 0; i < 4; i++)
		put(ends[1], 100 * COPY / 4, PIPE_PACKETS);
	take(ends[0], 100 * COPY / 4);

	make(ends, 0);
	make(other, 0);
	put(ends[1], SOME, PIPE_TEED);
	if (tee(ends[0], other[1], SOME, 0) != SOME)
		die("tee");
	take(ends[0], SOME);

	plant_vmspliced();
	plant_spliced();
	put(to_outside[1], SOME, PIPE_TO_OUTSIDE);
	close(to_outside[1]);
	put(fifo, SOME, FIFO);
}

static void free_pipes(void)
{
	int ends[2], many[MANY][2];

	make(ends, 0);
	put(ends[1], SOME, PIPE_READ);
	take(ends[0], SOME);

	for (int i = 0; i < MANY; i++)
		make(many[i], 0);
	for (int i = 0; i < MANY; i++)
		put(many[i][1], 16 * PAGE, PIPE_CLOSED);
	for (int i = 0; i < MANY; i++) {
		close(many[i][0]);
		close(many[i][1]);
	}

	unlink(FIFO_PATH ".2");
	mkfifo(FIFO_PATH ".2", 0600);
	ends[0] = open(FIFO_PATH ".2", O_RDWR);
	put(ends[0], SOME, FIFO_READ);
	take(ends[0], SOME);
}

static void verify_pipes(int restored)
{
	char data[SOME];
	ssize_t size;

	close(to_outside[1]);
	size = read(to_outside[0], data, SOME);
	if (restored) {
		broken_unless(size == 0, "a pipe after a restore");
		broken_unless(read(fifo, data, SOME) == -1 && errno == EAGAIN,
			      "a FIFO after a restore");
		return;
	}
	broken_unless(size == SOME && is_filled_with(data, SOME, 0, PIPE_TO_OUTSIDE), "a pipe");
	broken_unless(read(fifo, data, SOME) == SOME && is_filled_with(data, SOME, 0, FIFO),
		      "a FIFO");
}

const struct chapter pipes = {
	.name = "pipes",
	.open = open_pipes,
	.plant = plant_pipes,
	.plant_freed = free_pipes,
	.verify = verify_pipes,
};
