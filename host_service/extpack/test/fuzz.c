// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fuzz SEED COUNT [REPORTS]: guests that tell the truth, and guests that lie, through a whole
 * checkpoint. Ends the program at the first thing that goes wrong. Prints how often each
 * reason came, and with REPORTS every so many cases' report, one a line.
 *
 * With GUIDED defined it is a target of libFuzzer's instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "crc32.h"
#include "report.h"
#include "simulated.h"

#define LEAST_PAGES	40
#ifdef GUIDED
#define USUAL_PAGES	48	/* many cases rather than large ones */
#else
#define USUAL_PAGES	160
#endif
#define MOST_PAGES	1100
#define MANY_PROCESSES	90000	/* a run that needs a second directory page */
#define BIG_CASES	400	/* one in so many */
#define SEQUENCE	7

static uint64_t state;

/* A fuzzer that sees what its input reaches takes the first decisions; chance takes the others. */
static const uint8_t *decisions;
static size_t decided;

static uint64_t random_word(void)
{
	if (decided >= 2) {
		uint64_t decision = decisions[0] | decisions[1] << 8;

		decisions += 2;
		decided -= 2;
		return decision;
	}
	state += 0x9e3779b97f4a7c15;
	uint64_t word = state;

	word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9;
	word = (word ^ word >> 27) * 0x94d049bb133111eb;
	return word ^ word >> 31;
}

static uint64_t below(uint64_t end)
{
	return random_word() % end;
}

/* A number that a check may have got wrong. */
static uint64_t nasty(uint64_t near)
{
	static const uint64_t edges[] = {
		0, 1, 7, 8, 511, 512, 513, 4095, 4096, 4097, 0x7fffffff, 0x80000000, 0xffffffff,
		0x100000000, 1ULL << 52, 1ULL << 61, 1ULL << 63, UINT64_MAX - 4095, UINT64_MAX,
	};

	switch (below(4)) {
	case 0:
		return edges[below(sizeof(edges) / sizeof(edges[0]))];
	case 1:
		return near + below(17) - 8;
	case 2:
		return near ^ 1ULL << below(64);
	default:
		return random_word();
	}
}

/* ------------------------------------------------------------ a truthful guest */

struct guest_model {
	struct simulated simulated;
	uint64_t mailbox_gpa;
	bool big;
	uint64_t run_pages;
	uint64_t *run_gpa;		/* of each page of the run */
	uint8_t *run;			/* the run itself, before it is cut up */
	uint8_t use[MOST_PAGES];	/* what the guest does with a page */
};

enum { FREE_TO_USE, TAKEN, DROP, STASH, PARTS };

static struct sparc_mailbox *mailbox_of(struct guest_model *model)
{
	return simulated_mailbox(&model->simulated, model->mailbox_gpa);
}

static uint64_t pick_page(struct guest_model *model, uint8_t use)
{
	for (;;) {
		uint64_t page = below(model->simulated.pages);

		if (model->use[page] == FREE_TO_USE && !model->simulated.hole[page]) {
			model->use[page] = use;
			return page * PAGE;
		}
	}
}

static void fill(struct guest_model *model)
{
	struct simulated *simulated = &model->simulated;
	size_t kept = decided;

	/* Not worth deciding. */
	decided = 0;

	for (uint64_t page = 0; page < simulated->pages; page++) {
		uint8_t *at = simulated->ram + page * PAGE;

		if (below(4) == 0)
			continue;
		for (int i = 0; i < 64; i++)
			at[below(PAGE)] = random_word();
	}
	for (uint64_t i = below(12); i > 0; i--)
		simulated->hole[below(simulated->pages)] = true;
	decided = kept;
}

static void set_bit(uint8_t *bitmap, uint64_t page)
{
	bitmap[page / 8] |= 1 << page % 8;
}

static void list_extents(struct guest_model *model, struct sparc_manifest *head, uint64_t page,
			 struct sparc_extent *extents)
{
	uint64_t offset = 0;

	while (head->extents < 300 && below(5)) {
		struct sparc_extent *extent = &extents[head->extents];

		offset += below(900);
		extent->length = 1 + below(700);
		if (offset + extent->length > PAGE)
			return;
		extent->gpa = page * PAGE + offset;
		extent->kind = below(SPARC_KINDS);
		head->kind_bytes[extent->kind] += extent->length;
		head->extents++;
		offset += extent->length;
	}
	(void)model;
}

static void plan_pages(struct guest_model *model, struct sparc_manifest *head)
{
	uint8_t *drop = model->run, *stash = model->run + SPARC_BITMAP_BYTES(head->ram_pages);
	struct sparc_extent *extents = (void *)(model->run + 2 * SPARC_BITMAP_BYTES(head->ram_pages));

	for (uint64_t page = 0; page < head->ram_pages; page++) {
		if (model->use[page] != FREE_TO_USE || model->simulated.hole[page])
			continue;
		switch (below(8)) {
		case 0:
		case 1:
			set_bit(drop, page);
			model->use[page] = DROP;
			head->drop_pages++;
			break;
		case 2:
			set_bit(stash, page);
			model->use[page] = STASH;
			head->stash_pages++;
			break;
		case 3:
			list_extents(model, head, page, extents);
			model->use[page] = PARTS;
		}
	}
}

static void list_processes(struct guest_model *model, struct sparc_manifest *head)
{
	uint64_t start = 2 * SPARC_BITMAP_BYTES(head->ram_pages) +
			 SPARC_ALIGN(head->extents * sizeof(struct sparc_extent));
	struct sparc_process *process = (void *)(model->run + start);

	head->processes = model->big ? MANY_PROCESSES : below(40);
	for (uint32_t i = 0; i < head->processes; i++) {
		process[i].pid = 1 + below(30000);
		for (int j = 0; j < SPARC_COMM_LEN; j++)
			process[i].comm[j] = random_word();
	}
	head->run_bytes = start + head->processes * sizeof(*process);
}

static void seal(struct guest_model *model)
{
	struct sparc_mailbox *mailbox = mailbox_of(model);
	struct sparc_manifest *head = &mailbox->manifest;
	uint32_t directories = head->directories <= SPARC_DIRECTORIES ? head->directories : 0;
	uint32_t crc = crc32_update(0, head, offsetof(struct sparc_manifest, crc));

	head->crc = crc32_update(crc, mailbox->directory,
				 directories * sizeof(mailbox->directory[0]));
}

/* Put the run where its pages are, with its checksum. */
static void write_run(struct guest_model *model)
{
	struct sparc_manifest *head = &mailbox_of(model)->manifest;
	uint64_t room = model->run_pages * PAGE;

	for (uint64_t i = 0; i < model->run_pages; i++)
		memcpy(model->simulated.ram + model->run_gpa[i], model->run + i * PAGE, PAGE);
	head->run_crc = crc32_update(0, model->run, head->run_bytes < room ? head->run_bytes : room);
	seal(model);
}

/* The run's pages and the directory's, somewhere. */
static void place_run(struct guest_model *model)
{
	struct sparc_mailbox *mailbox = mailbox_of(model);
	uint64_t bytes = model->big ? MANY_PROCESSES * sizeof(struct sparc_process) : PAGE;

	model->run_pages = 2 + 2 + SPARC_ALIGN(bytes) / PAGE;
	model->run = calloc(model->run_pages, PAGE);
	model->run_gpa = calloc(model->run_pages, sizeof(*model->run_gpa));
	if (!model->run || !model->run_gpa)
		abort();
	mailbox->manifest.directories = 1 + model->big + below(2);
	for (uint32_t i = 0; i < mailbox->manifest.directories; i++) {
		mailbox->directory[i] = pick_page(model, TAKEN);
		memset(model->simulated.ram + mailbox->directory[i], 0, PAGE);
	}
	for (uint64_t i = 0; i < model->run_pages; i++) {
		uint64_t directory = mailbox->directory[i / SPARC_DIRECTORY_ENTRIES];
		__u64 *entries = (void *)(model->simulated.ram + directory);

		entries[i % SPARC_DIRECTORY_ENTRIES] = model->run_gpa[i] = pick_page(model, TAKEN);
	}
}

static void place_canary(struct guest_model *model, struct sparc_manifest *head)
{
	do {
		head->canary_gpa = pick_page(model, TAKEN);
	} while (head->canary_gpa / PAGE >= head->ram_pages);
	set_bit(model->run + SPARC_BITMAP_BYTES(head->ram_pages), head->canary_gpa / PAGE);
	model->use[head->canary_gpa / PAGE] = STASH;
	model->simulated.ram[head->canary_gpa] = 1;
	head->stash_pages = 1;
}

static void make_guest(struct guest_model *model)
{
	struct sparc_mailbox *mailbox;
	struct sparc_manifest *head;

	memset(model, 0, sizeof(*model));
	model->big = below(BIG_CASES) == 0;
	simulated_open(&model->simulated, model->big ? MOST_PAGES :
					  LEAST_PAGES + below(USUAL_PAGES - LEAST_PAGES));
	fill(model);
	model->mailbox_gpa = pick_page(model, TAKEN);
	mailbox = simulated_identify(&model->simulated, model->mailbox_gpa, random_word());
	mailbox->status.word = SPARC_WORD(SEQUENCE, SPARC_STATE_PARKED);
	mailbox->request = SPARC_WORD(SEQUENCE, SPARC_REQUEST_PREPARE);
	head = &mailbox->manifest;
	head->sequence = SEQUENCE;
	head->ram_pages = model->simulated.pages - below(3);
	head->display = below(SPARC_DISPLAY_ALL + 1);
	place_run(model);
	place_canary(model, head);
	plan_pages(model, head);
	list_processes(model, head);
	write_run(model);
}

static void end_guest(struct guest_model *model)
{
	simulated_close(&model->simulated);
	free(model->run);
	free(model->run_gpa);
}

/* --------------------------------------------------------------- and its lies */

static void lie_in_head(struct guest_model *model)
{
	struct sparc_manifest *head = &mailbox_of(model)->manifest;

	switch (below(13)) {
	case 0: head->sequence = nasty(head->sequence); break;
	case 1: head->run_bytes = below(2) ? below(head->run_bytes) : nasty(head->run_bytes); break;
	case 2: head->ram_pages = nasty(head->ram_pages); break;
	case 3: head->drop_pages = nasty(head->drop_pages); break;
	case 4: head->stash_pages = nasty(head->stash_pages); break;
	case 5: head->canary_gpa = nasty(head->canary_gpa); break;
	case 6: head->extents = nasty(head->extents); break;
	case 7: head->processes = nasty(head->processes); break;
	case 8: head->directories = nasty(head->directories); break;
	case 9: head->display = nasty(0); break;
	case 10: head->kind_pages[below(SPARC_KINDS)] = random_word(); break;
	case 11: head->run_crc = nasty(head->run_crc); break;
	default: head->crc ^= 1u << below(32); return;
	}
	if (below(2))
		write_run(model);
	seal(model);
}

/* With counts to fit, so that the lie is not in the counting. */
static void lie_in_bitmaps(struct guest_model *model)
{
	struct sparc_manifest *head = &mailbox_of(model)->manifest;
	uint64_t bytes = SPARC_BITMAP_BYTES(head->ram_pages);
	uint64_t bits = below(3) ? head->ram_pages : bytes * 8;

	for (uint64_t i = 1 + below(3); i > 0; i--) {
		uint64_t which = below(2), page = below(bits);
		uint8_t *byte = model->run + which * bytes + page / 8;
		__u64 *count = which ? &head->stash_pages : &head->drop_pages;

		*count += *byte >> page % 8 & 1 ? -1 : 1;
		*byte ^= 1 << page % 8;
	}
	write_run(model);
}

static void lie_in_extents(struct guest_model *model)
{
	struct sparc_manifest *head = &mailbox_of(model)->manifest;
	struct sparc_extent *extents =
		(void *)(model->run + 2 * SPARC_BITMAP_BYTES(head->ram_pages));
	struct sparc_extent *extent;

	if (!head->extents)
		return;
	extent = &extents[below(head->extents)];
	switch (below(5)) {
	case 0: extent->gpa = nasty(extent->gpa); break;
	case 1: extent->length = nasty(extent->length); break;
	case 2: extent->kind = nasty(extent->kind); break;
	case 3: *extent = extents[below(head->extents)]; break;
	default: extent->gpa = below(model->simulated.pages * PAGE);
	}
	write_run(model);
}

static void lie_in_directory(struct guest_model *model)
{
	struct sparc_mailbox *mailbox = mailbox_of(model);
	__u64 *entries = (void *)(model->simulated.ram + mailbox->directory[0]);
	__u64 *entry = below(2) ? &entries[below(model->run_pages)] : &mailbox->directory[0];

	*entry = below(2) ? nasty(*entry) : below(model->simulated.pages) * PAGE;
	seal(model);
}

static void lie_anywhere(struct guest_model *model)
{
	uint8_t *mailbox = (void *)mailbox_of(model);

	for (uint64_t i = 1 + below(8); i > 0; i--)
		mailbox[below(2) ? below(PAGE) : below(1024)] ^= 1 << below(8);
	if (below(2))
		seal(model);
}

static void lie_in_state(struct guest_model *model)
{
	struct sparc_mailbox *mailbox = mailbox_of(model);
	uint64_t other = pick_page(model, TAKEN);

	switch (below(4)) {
	case 0:
		mailbox->status.word = SPARC_WORD(SEQUENCE + below(3) - 1, below(6));
		mailbox->status.reason = nasty(SPARC_REASON_LOST);
		break;
	case 1:
		simulated_identify(&model->simulated, other, random_word());
		break;
	case 2:
		/* A copy of it elsewhere is no mailbox. */
		memcpy(model->simulated.ram + other, mailbox, PAGE);
		break;
	default:
		mailbox->status.armed = below(2);
	}
}

static void lie(struct guest_model *model)
{
	switch (below(7)) {
	case 0: lie_in_head(model); break;
	case 1: lie_in_bitmaps(model); break;
	case 2: lie_in_extents(model); break;
	case 3: lie_in_directory(model); break;
	case 4: lie_anywhere(model); break;
	case 5: lie_in_state(model); break;
	default: lie_in_bitmaps(model); lie_in_extents(model); lie_in_head(model);
	}
}

/* A guest that writes while the host reads. */
static void stir(struct simulated *simulated)
{
	uint64_t page = below(simulated->pages);

	if (below(3) == 0 && !simulated->hole[page])
		simulated->ram[page * PAGE + below(PAGE)] ^= 1 << below(8);
}

/* -------------------------------------------------------------- what must hold */

static unsigned long case_number;

static void wrong(const char *what)
{
	fprintf(stderr, "wrong in case %lu: %s\n", case_number, what);
	abort();
}

enum { OTHERS, ZEROED, PUT_BACK };

static void name_pages(uint8_t *what, const struct manifest *manifest)
{
	uint64_t drop = 0, stash = 0;

	for (uint64_t page = 0; page < manifest->head.ram_pages; page++) {
		bool dropped = manifest->drop[page / 8] >> page % 8 & 1;
		bool stashed = manifest->stash[page / 8] >> page % 8 & 1;

		if (dropped && stashed)
			wrong("a page in both bitmaps was taken for good");
		if (dropped || stashed)
			memset(what + page * PAGE, dropped ? ZEROED : PUT_BACK, PAGE);
		drop += dropped;
		stash += stashed;
	}
	if (drop != manifest->head.drop_pages || stash != manifest->head.stash_pages)
		wrong("a wrong number of pages was taken for good");
}

/* What the host may do to each byte, by the copy of the manifest that it works from. */
static uint8_t *named(const struct guest_model *model, const struct checkpoint *checkpoint)
{
	const struct manifest *manifest = &checkpoint->manifest;
	uint8_t *what = calloc(model->simulated.pages, PAGE);

	if (!what)
		abort();
	/* Nothing is named by one that was not taken for good. */
	if (checkpoint->reason != REASON_OK && checkpoint->reason != REASON_INTERNAL &&
	    checkpoint->reason != REASON_SCREEN)
		return what;
	name_pages(what, manifest);
	for (uint32_t i = 0; i < manifest->head.extents; i++)
		memset(what + manifest->extents[i].gpa, PUT_BACK, manifest->extents[i].length);
	return what;
}

static void check_while_saved(const struct guest_model *model, const uint8_t *before,
			      const uint8_t *what, bool clean)
{
	const uint8_t *now = model->simulated.ram;

	for (uint64_t i = 0; i < model->simulated.pages * PAGE; i++) {
		if (clean && what[i] != OTHERS && now[i])
			wrong("a named byte is not zero in the checkpoint");
		if ((!clean || what[i] == OTHERS) && what[i] != ZEROED && now[i] != before[i])
			wrong("a byte changed that is nobody's business");
	}
}

static void check_after(const struct guest_model *model, const uint8_t *before, const uint8_t *what)
{
	for (uint64_t i = 0; i < model->simulated.pages * PAGE; i++)
		if (what[i] != ZEROED && model->simulated.ram[i] != before[i])
			wrong("a byte was not put back");
}

static void check_writes(const struct guest_model *model, const uint8_t *what)
{
	for (uint64_t i = 0; i < model->simulated.pages * PAGE; i++)
		if (model->simulated.written[i] && what[i] == OTHERS)
			wrong("the host wrote where the manifest names nothing");
}

static struct park asked(struct guest_model *model)
{
	struct park park = { .outcome = PARK_DONE, .sequence = SEQUENCE };

	park.mailbox.gpa = model->mailbox_gpa;
	park.mailbox.instance = mailbox_of(model)->identity.instance;
	return park;
}

static void render(const struct checkpoint *checkpoint, bool print)
{
	struct machine_name name = { "a \"name\" \xc3\xa9 \xff", "0" };
	char *text = report_text(checkpoint, &name, "/a/\x01.sav", 1);

	if (!text)
		wrong("no report");
	if (print)
		fputs(text, stdout);
	free(text);
}

/* ------------------------------------------------------------------- the screen */

#define VIDEO_PAGES	70	/* some more than text mode has */
#define TEXT_BYTES	(256 * 1024)

static struct simulated video_memory;
static uint8_t *video_before;

static struct video make_video(void)
{
	uint64_t bytes = VIDEO_PAGES * PAGE;

	if (!video_before) {
		simulated_open(&video_memory, VIDEO_PAGES);
		video_before = malloc(bytes);
		if (!video_before)
			abort();
		for (uint64_t i = 0; i < bytes; i++)
			video_memory.ram[i] = i / PAGE % 5 ? random_word() : 0;
		memcpy(video_before, video_memory.ram, bytes);
	}
	video_memory.left = below(8) ? UINT64_MAX : 1 + below(4 * VIDEO_PAGES);
	return (struct video){ video_memory.memory, 0, below(10) ? bytes : 0 };
}

static bool video_kept(uint64_t at, uint32_t display)
{
	return display == SPARC_DISPLAY_KEEP ||
	       (display == SPARC_DISPLAY_TEXT && at < TEXT_BYTES && at % 4 >= 2);
}

static void check_video(const struct checkpoint *checkpoint, bool saved)
{
	for (uint64_t i = 0; i < VIDEO_PAGES * PAGE; i++) {
		bool kept = !saved || checkpoint->reason != REASON_OK ||
			    video_kept(i, checkpoint->manifest.head.display);

		if (video_memory.ram[i] != (kept ? video_before[i] : 0))
			wrong("the screen");
	}
}

static unsigned long counts[REASON_INTERNAL + 1], refused, honest, moved;

static void one_case(bool report)
{
	struct guest_model model;
	struct checkpoint checkpoint = { .policy = { POLICY_STRICT, 5000 } };
	struct video video;
	uint8_t *before, *what;
	uint64_t bytes;
	bool truth, stirred = false, failing = false, dark;

	video = make_video();
	dark = !video.bytes || video_memory.left != UINT64_MAX;
	make_guest(&model);
	if (below(4))
		checkpoint.park = asked(&model);
	truth = below(5) == 0;
	if (!truth)
		lie(&model);
	bytes = model.simulated.pages * PAGE;
	before = malloc(bytes);
	if (!before)
		abort();
	memcpy(before, model.simulated.ram, bytes);
	if (!truth && below(4) == 0)
		model.simulated.on_read = stir, stirred = true;
	else if (below(6) == 0)
		model.simulated.left = 1 + below(3 * model.simulated.pages), failing = true;
	checkpoint_prepare(&checkpoint, &model.simulated.memory, &video);
	model.simulated.on_read = NULL;
	if (checkpoint.not_put_back && !failing && !dark)
		wrong("a piece was not put back");
	/* What did not go back at first is tried again. */
	if (checkpoint.not_put_back)
		checkpoint_finish(&checkpoint, &model.simulated.memory);
	what = named(&model, &checkpoint);
	check_writes(&model, what);
	if (!stirred)
		check_while_saved(&model, before, what, checkpoint.reason == REASON_OK);
	if (checkpoint_clean(&checkpoint) == checkpoint.refused && checkpoint.reason != REASON_NO_MODULE)
		wrong("neither clean nor refused");
	if (truth && !failing && checkpoint.reason != REASON_OK &&
	    !(dark && checkpoint.reason == REASON_SCREEN))
		wrong("a truthful guest was refused");
	check_video(&checkpoint, true);
	model.simulated.left = video_memory.left = UINT64_MAX;
	checkpoint_finish(&checkpoint, &model.simulated.memory);
	checkpoint_finish(&checkpoint, &model.simulated.memory);
	check_writes(&model, what);
	check_video(&checkpoint, false);
	if (checkpoint.not_put_back)
		wrong("a piece was not put back");
	if (!stirred)
		check_after(&model, before, what);
	counts[checkpoint.reason]++;
	refused += checkpoint.refused;
	honest += truth;
	moved += stirred;
	render(&checkpoint, report);
	checkpoint_free(&checkpoint);
	free(before);
	free(what);
	end_guest(&model);
}

#ifdef GUIDED

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	decided = 0;
	state = 1;
	make_video();
	decisions = data;
	decided = size;
	one_case(false);
	decided = 0;
	return 0;
}

#else

int main(int argc, char **argv)
{
	unsigned long seed, count, every;

	if (argc < 3)
		return 2;
	seed = strtoul(argv[1], NULL, 0);
	count = strtoul(argv[2], NULL, 0);
	every = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;
	state = 1;
	make_video();
	for (unsigned long i = 0; i < count; i++) {
		/* Each case alone can be had again: fuzz SEED+NUMBER 1. */
		case_number = seed + i;
		state = case_number * 0x2545f4914f6cdd1d;
		one_case(every && i % every == 0);
	}
	fprintf(stderr, "{\"honest\":%lu,\"moved\":%lu,\"refused\":%lu", honest, moved, refused);
	for (int i = 0; i <= REASON_INTERNAL; i++)
		fprintf(stderr, ",\"%s\":%lu", reason_word(i), counts[i]);
	fprintf(stderr, "}\n");
	return 0;
}

#endif
