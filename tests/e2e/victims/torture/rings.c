/* Pages that a process shares with the kernel: rings of io_uring, AIO, perf, packets, BPF maps. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "torture.h"

#define PAGE 4096

static void fill_shared(int file, size_t size, off_t offset, size_t skip, enum class_id id)
{
	size_t end = id == RING_PERF ? PAGE : size;

	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, offset);

	if (area == MAP_FAILED)
		die("mmap of a ring");
	fill_with(area + skip, end - skip, id);
}

static void plant_uring(void)
{
	struct io_uring_params parameters = { 0 };
	int ring = syscall(__NR_io_uring_setup, 64, &parameters);

	if (ring < 0) {
		unsupported(RING_URING);
		return;
	}
	fill_shared(ring, 64 * sizeof(struct io_uring_sqe), IORING_OFF_SQES, 0, RING_URING);
}

/* The ring is at the address that io_setup() gives out; its head has 32 bytes. */
static void plant_aio(void)
{
	aio_context_t ring = 0;

	if (syscall(__NR_io_setup, 128, &ring)) {
		unsupported(RING_AIO);
		return;
	}
	fill_with((char *)ring + 64, PAGE - 64, RING_AIO);
}

static void plant_perf(void)
{
	struct perf_event_attr about = { .type = PERF_TYPE_SOFTWARE, .size = sizeof(about),
					 .config = PERF_COUNT_SW_DUMMY };
	int event = syscall(__NR_perf_event_open, &about, 0, -1, -1, 0);

	if (event < 0) {
		unsupported(RING_PERF);
		return;
	}
	/* Only the first page can be written; what the kernel has in it is in its first quarter. */
	fill_shared(event, 3 * PAGE, 0, PAGE / 2, RING_PERF);
}

static void plant_packets(void)
{
	struct tpacket_req request = { .tp_block_size = PAGE, .tp_block_nr = 2,
				       .tp_frame_size = 2048, .tp_frame_nr = 4 };
	int packets = socket(AF_PACKET, SOCK_DGRAM, 0);

	if (packets < 0 || setsockopt(packets, SOL_PACKET, PACKET_TX_RING, &request,
				      sizeof(request))) {
		unsupported(RING_PACKET);
		return;
	}
	fill_shared(packets, 2 * PAGE, 0, 0, RING_PACKET);
}

static void plant_bpf(void)
{
	union bpf_attr about = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4000,
				 .max_entries = 1, .map_flags = BPF_F_MMAPABLE };
	int map = syscall(__NR_bpf, BPF_MAP_CREATE, &about, sizeof(about));

	if (map < 0) {
		unsupported(BPF_MAP);
		return;
	}
	fill_shared(map, PAGE, 0, 0, BPF_MAP);
}

static void plant_rings(void)
{
	plant_uring();
	plant_aio();
	plant_perf();
	plant_packets();
	plant_bpf();
}

const struct chapter rings = { .name = "rings", .plant = plant_rings };
