// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * handshake SCENARIO: asks a guest that a thread plays to park, verifies, and lets it go;
 * prints what came of it as one JSON object.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "checkpoint.h"
#include "report.h"
#include "simulated.h"

#define GPA		(5 * PAGE)
#define TIMEOUT_MS	300

struct scene {
	const char *name;
	struct simulated simulated;
	struct sparc_mailbox *mailbox;
	bool over;
	bool stopped;			/* the machine no longer runs */
	unsigned long torn, requests;
	uint64_t last;
};

static bool is(const struct scene *scene, const char *name)
{
	return !strcmp(scene->name, name);
}

static void pause_ms(unsigned int ms)
{
	struct timespec pause = { .tv_nsec = ms * 1000000L };

	nanosleep(&pause, NULL);
}

static void answer(struct scene *scene, uint32_t sequence, uint32_t state, uint32_t reason)
{
	scene->mailbox->status.reason = reason;
	scene->mailbox->status.reason_pid = 42;
	memcpy(scene->mailbox->status.reason_comm, "culprit\x01\"name\"!", 16);
	__atomic_store_n(&scene->mailbox->status.word, SPARC_WORD(sequence, state),
			 __ATOMIC_RELEASE);
}

static void on_prepare(struct scene *scene, uint32_t sequence)
{
	if (is(scene, "park") || is(scene, "lost") || is(scene, "idle") || is(scene, "moved"))
		answer(scene, sequence, SPARC_STATE_PARKED, 0);
	if (is(scene, "late")) {
		answer(scene, sequence, SPARC_STATE_PREPARING, 0);
		pause_ms(100);
		answer(scene, sequence, SPARC_STATE_PARKED, 0);
	}
	if (is(scene, "failed"))
		answer(scene, sequence, SPARC_STATE_FAILED, SPARC_REASON_SWAP);
	if (is(scene, "other-sequence"))
		answer(scene, sequence + 1, SPARC_STATE_PARKED, 0);
	if (is(scene, "gone"))
		memset(&scene->mailbox->identity, 0, sizeof(scene->mailbox->identity));
	if (is(scene, "stopped"))
		__atomic_store_n(&scene->stopped, true, __ATOMIC_RELEASE);
}

/* Sequence 0x01010101 upon 0x01010100: each byte of a torn word would show. */
static void look(struct scene *scene)
{
	uint64_t word = __atomic_load_n(&scene->mailbox->request, __ATOMIC_ACQUIRE);

	if (word == scene->last)
		return;
	scene->last = word;
	scene->requests++;
	if (SPARC_WORD_SEQUENCE(word) != 0x01010101 ||
	    SPARC_WORD_WHAT(word) > SPARC_REQUEST_ABANDON || !SPARC_WORD_WHAT(word))
		scene->torn++;
	if (SPARC_WORD_WHAT(word) == SPARC_REQUEST_PREPARE)
		on_prepare(scene, SPARC_WORD_SEQUENCE(word));
	if (SPARC_WORD_WHAT(word) == SPARC_REQUEST_ABANDON && is(scene, "after-abandon"))
		answer(scene, SPARC_WORD_SEQUENCE(word), SPARC_STATE_PARKED, 0);
}

static void *guest(void *user)
{
	struct scene *scene = user;

	while (!__atomic_load_n(&scene->over, __ATOMIC_ACQUIRE))
		look(scene);
	look(scene);
	return NULL;
}

static bool goes_on(void *context)
{
	struct scene *scene = context;

	return !__atomic_load_n(&scene->stopped, __ATOMIC_ACQUIRE);
}

static void set_scene(struct scene *scene)
{
	simulated_open(&scene->simulated, 64);
	scene->mailbox = simulated_identify(&scene->simulated, GPA, 77);
	scene->mailbox->request = SPARC_WORD(0x01010100, SPARC_REQUEST_RESUMED);
	scene->last = scene->mailbox->request;
	if (is(scene, "no-module"))
		memset(scene->mailbox, 0, PAGE);
	if (is(scene, "not-armed"))
		scene->mailbox->status.armed = 0;
	if (is(scene, "ambiguous"))
		simulated_identify(&scene->simulated, 9 * PAGE, 78);
	if (is(scene, "copy"))
		memcpy(simulated_mailbox(&scene->simulated, 9 * PAGE), scene->mailbox, PAGE);
	if (is(scene, "restored"))
		answer(scene, 0x01010101, SPARC_STATE_PARKED, 0);
}

/* Between its answer and the pause, the guest may do otherwise. */
static void before_pause(struct scene *scene)
{
	if (is(scene, "after-abandon"))
		pause_ms(50);
	if (is(scene, "lost"))
		answer(scene, 0x01010101, SPARC_STATE_FAILED, SPARC_REASON_LOST);
	if (is(scene, "idle"))
		answer(scene, 0x01010101, SPARC_STATE_IDLE, 0);
	if (is(scene, "moved"))
		scene->mailbox->identity.instance++;
}

static const char *word(enum park_outcome outcome)
{
	static const char *const words[] = {
		"not-asked", "no-module", "not-armed", "policy-off", "ambiguous", "foreign",
		"timeout", "failed", "parked",
	};

	return words[outcome];
}

static void play(struct scene *scene)
{
	struct checkpoint checkpoint = { .policy = { POLICY_STRICT, TIMEOUT_MS } };
	const struct guest_memory *memory = &scene->simulated.memory;
	struct park park;
	enum park_outcome answer;
	unsigned int released;
	uint64_t took = clock_us();

	handshake_look(memory, &park);
	if (park.outcome == PARK_NOT_ASKED && !is(scene, "restored"))
		handshake_park(memory, &park, TIMEOUT_MS, goes_on, scene);
	answer = park.outcome;
	took = clock_us() - took;
	before_pause(scene);
	handshake_verify(memory, &park);
	checkpoint.park = park;
	checkpoint_prepare(&checkpoint, memory, NULL);
	checkpoint_finish(&checkpoint, memory);
	released = handshake_release(memory);
	pause_ms(20);
	printf("{\"answer\":\"%s\",\"verified\":\"%s\",\"reason\":\"%s\",\"refused\":%s,"
	       "\"guest_reason\":%u,\"released\":%u,\"took_us\":%lu,\"request\":%u",
	       word(answer), word(park.outcome), reason_word(checkpoint.reason),
	       checkpoint.refused ? "true" : "false", park.status.reason, released,
	       (unsigned long)took, SPARC_WORD_WHAT(scene->mailbox->request));
	checkpoint_free(&checkpoint);
}

int main(int argc, char **argv)
{
	struct scene scene = { 0 };
	pthread_t thread;

	if (argc != 2)
		return 2;
	scene.name = argv[1];
	set_scene(&scene);
	if (pthread_create(&thread, NULL, guest, &scene))
		return 2;
	play(&scene);
	__atomic_store_n(&scene.over, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	printf(",\"torn\":%lu,\"requests\":%lu}\n", scene.torn, scene.requests);
	simulated_close(&scene.simulated);
	return 0;
}
