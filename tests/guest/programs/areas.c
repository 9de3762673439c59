/* A process's memory: what a program may do with it, in any order, with markers in all of it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wanderer.h"

#define MOST_AREAS 16
#define ALIGNED_UP(address, size) ((char *)(((uintptr_t)(address) + (size) - 1) & -(uintptr_t)(size)))

/* What is mapped, readable and writable. Much more is mapped, and no longer known here. */
static struct area {
	char *start;
	size_t pages;
	pid_t keeper;	/* unless 0: children do not have it */
} areas[MOST_AREAS];
static unsigned int count;

static const int advices[] = {
	MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT,
	MADV_DONTFORK, MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_MERGEABLE,
	MADV_UNMERGEABLE, MADV_WILLNEED, 25 /* MADV_COLLAPSE */,
};

void mark(char *at)
{
	for (unsigned int i = 0; i < MARKER_WORDS; i++) {
		uint64_t word = marker_word(i);

		memcpy(at + 8 * i, &word, 8);
	}
}

/* Anywhere in the page, and now and then across its end, between two words. */
static void mark_page(char *page, size_t following)
{
	if (following && !chance(4))
		mark(page + PAGE - 8 * (1 + chance(MARKER_WORDS - 1)));
	else
		mark(page + chance(PAGE - MARKER_BYTES));
}

static void fill(char *start, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		mark_page(start + i * PAGE, pages - i - 1);
}

static char *map(size_t bytes, int flags, int file)
{
	char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, file, 0);

	return start == MAP_FAILED ? NULL : start;
}

static void know(char *start, size_t pages)
{
	if (count == MOST_AREAS || !pages)
		return;
	areas[count].start = start;
	areas[count].keeper = 0;
	areas[count++].pages = pages;
}

static void forget(struct area *area)
{
	*area = areas[--count];
}

static struct area *any(void)
{
	while (count) {
		struct area *area = &areas[chance(count)];

		if (!area->keeper || area->keeper == getpid())
			return area;
		forget(area);
	}
	return NULL;
}

/* Part of an area is no longer known as writable: both rests are. */
static void cut(struct area *area, size_t first, size_t pages)
{
	struct area whole = *area;

	forget(area);
	know(whole.start, first);
	know(whole.start + (first + pages) * PAGE, whole.pages - first - pages);
	for (unsigned int i = 0; i < count; i++)
		if (areas[i].start >= whole.start && areas[i].start < whole.start + whole.pages * PAGE)
			areas[i].keeper = whole.keeper;
}

static size_t part(struct area *area, size_t *first)
{
	*first = chance(area->pages);
	return 1 + chance(area->pages - *first);
}

static void new_area(void)
{
	size_t pages = 1 + chance(chance(3) ? 16 : 160);
	char *start = map(pages * PAGE, MAP_ANONYMOUS, -1);

	if (!start)
		return;
	fill(start, chance(3) ? pages : 1 + chance(pages));
	know(start, pages);
}

static void new_huge_area(void)
{
	static pid_t had;
	char *start, *aligned;

	/* One for each process: they are large. */
	if (had == getpid())
		return;
	had = getpid();
	start = map(2 * HUGE_PAGE, MAP_ANONYMOUS, -1);
	if (!start)
		return;
	aligned = ALIGNED_UP(start, HUGE_PAGE);
	madvise(aligned, HUGE_PAGE, MADV_HUGEPAGE);
	fill(aligned, 1 + chance(HUGE_PAGE / PAGE));
	know(aligned, HUGE_PAGE / PAGE);
}

/* From the pool of huge pages, while that has some; given back to it, or kept. */
static void hugetlb_area(int kept)
{
	size_t pages = 1 + chance(2);
	char *start = map(pages * HUGE_PAGE, MAP_ANONYMOUS | MAP_HUGETLB, -1);

	if (!start)
		return;
	for (size_t i = 0; i < pages * HUGE_PAGE; i += (1 + chance(64)) * PAGE)
		mark(start + i + chance(PAGE - MARKER_BYTES));
	if (!kept)
		munmap(start, pages * HUGE_PAGE);
}

/* Pages of a file that are written, and so the process's own from then on. */
static void file_area(void)
{
	size_t pages = 1 + chance(20);
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *start = map(pages * PAGE, 0, file);

	close(file);
	if (!start)
		return;
	for (size_t i = 0; i < pages; i += 1 + chance(3))
		mark(start + i * PAGE + chance(PAGE - MARKER_BYTES));
	if (!chance(4))
		munmap(start, (1 + chance(pages)) * PAGE);
}

static void unmap(struct area *area)
{
	size_t first, pages = part(area, &first);

	munmap(area->start + first * PAGE, pages * PAGE);
	cut(area, first, pages);
}

static void remap(struct area *area)
{
	size_t pages = 1 + chance(2 * area->pages);
	int flags = MREMAP_MAYMOVE;
	char *start;

	if (pages == area->pages && chance(2))
		flags |= MREMAP_DONTUNMAP;
	start = mremap(area->start, area->pages * PAGE, pages * PAGE, flags);
	if (start == MAP_FAILED)
		return;
	if (pages > area->pages)
		fill(start + area->pages * PAGE, chance(pages - area->pages));
	area->start = start;
	area->pages = pages;
}

static void advise(struct area *area)
{
	int advice = advices[chance(sizeof(advices) / sizeof(advices[0]))];
	size_t first, pages = part(area, &first);

	if (!madvise(area->start + first * PAGE, pages * PAGE, advice) && advice == MADV_DONTFORK)
		area->keeper = getpid();
}

static void protect(struct area *area)
{
	size_t first, pages = part(area, &first);
	int protection = chance(2) ? PROT_NONE : PROT_READ;

	if (!mprotect(area->start + first * PAGE, pages * PAGE, protection))
		cut(area, first, pages);
}

/* Pages with the same content, for the kernel to merge. */
static void twins(void)
{
	size_t pages = 2 + chance(8);
	char *start = map(pages * PAGE, MAP_ANONYMOUS, -1);

	if (!start)
		return;
	for (size_t i = 0; i < pages; i++)
		mark(start + i * PAGE);
	madvise(start, pages * PAGE, MADV_MERGEABLE);
}

static void heap(void)
{
	char *blocks[6];

	for (int i = 0; i < 6; i++) {
		size_t bytes = MARKER_BYTES + chance(chance(2) ? 500 : 200000);

		blocks[i] = malloc(bytes);
		for (size_t at = 0; at + MARKER_BYTES <= bytes; at += PAGE)
			mark(blocks[i] + at);
	}
	for (int i = 0; i < 6; i++)
		if (chance(2))
			free(blocks[i]);
}

/* Deep in the stack, and back. */
static void __attribute__((noinline)) descend(unsigned int depth)
{
	volatile char frame[PAGE / 2 + 64];

	mark((char *)frame + chance(PAGE / 2));
	if (depth)
		descend(depth - 1);
	frame[0] = 0;
}

void areas_touch(void)
{
	struct area *area = any();

	if (!area)
		return;
	for (unsigned int i = 1 + chance(16); i; i--) {
		size_t page = chance(area->pages);

		mark_page(area->start + page * PAGE, area->pages - page - 1);
	}
}

/* What a program does last: pages go back to where nobody clears them. */
void areas_end(void)
{
	hugetlb_area(0);
}

void areas_step(void)
{
	struct area *area = any();
	unsigned int what = chance(32);

	if (!area || what < 6)
		new_area();
	else if (what < 8)
		new_huge_area();
	else if (what < 9)
		hugetlb_area(!chance(4));
	else if (what < 10)
		file_area();
	else if (what < 11)
		twins();
	else if (what < 12)
		heap();
	else if (what < 13)
		descend(chance(40));
	else if (what < 14)
		mlock(area->start, (1 + chance(area->pages)) * PAGE);
	else if (what < 17)
		unmap(area);
	else if (what < 20)
		remap(area);
	else if (what < 24)
		advise(area);
	else if (what < 26)
		protect(area);
	else
		areas_touch();
}
