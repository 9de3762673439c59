/*
 * torture SEED none|first|late [CHAPTER,...]: a pair of processes; the one inside puts secrets made from SEED
 * wherever it can, and asks to be kept out of checkpoints: never, before anything else, or when all
 * are in their places. The one outside has the other ends.
 *
 * FOLDER/planted appears when all are in their places, FOLDER/torture.pid has the pid of the
 * one inside. The one outside verifies its ends once, when it is told to by FOLDER/verify or when
 * the one inside is dead, and says in FOLDER/verdict "ok" or "bad".
 * FOLDER/unsupported has the numbers of the classes that this kernel does not know.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/wait.h>

#include "../exclude_self.h"
#include "torture.h"

static const struct chapter *const chapters[] = {
	&pipes,
	&terminals,
	&files,
	&shared,
	&sockets,
	&rings,
	&kernel,
};
#define CHAPTERS (sizeof(chapters) / sizeof(chapters[0]))

static int closed_inside[128], closed_count;
static uint64_t seed;
static const char *chapter = "";

void outsiders_own(int descriptor)
{
	closed_inside[closed_count++] = descriptor;
}

const char *secret(enum class_id id)
{
	static char text[SECRET_LENGTH + 1];

	write_secret(text, seed, id);
	return text;
}

void fill_with(char *at, size_t size, enum class_id id)
{
	char copy[COPY];

	write_secret(copy, seed, id);
	copy[SECRET_LENGTH] = '\n';
	for (size_t done = 0; done < size; done += COPY)
		memcpy(at + done, copy, size - done < COPY ? size - done : COPY);
}

int is_filled_with(const char *at, size_t size, size_t offset, enum class_id id)
{
	char copy[COPY];

	write_secret(copy, seed, id);
	copy[SECRET_LENGTH] = '\n';
	for (size_t i = 0; i < size; i++)
		if (at[i] != copy[(offset + i) % COPY])
			return 0;
	return 1;
}

void unsupported(enum class_id id)
{
	FILE *file = fopen(FOLDER "/unsupported", "a");

	if (!file || fprintf(file, "%d\n", id) < 0 || fclose(file))
		die("unsupported");
}

void broken(const char *what)
{
	char words[128];

	snprintf(words, sizeof(words), "%s: %s", chapter, what);
	fail("verdict", words);
	exit(1);
}

void broken_unless(int good, const char *what)
{
	if (!good)
		broken(what);
}

/* Those that are to be tried: all, or the ones named, with commas between them. */
static const char *chosen;

static int is_chosen(const struct chapter *one)
{
	size_t length = strlen(one->name);

	for (const char *at = chosen; at; at = strchr(at, ','), at += at != NULL)
		if (!strncmp(at, one->name, length) && (!at[length] || at[length] == ','))
			return 1;
	return !chosen;
}

enum step { OPEN, PLANT, PLANT_FREED };

static void all(enum step step)
{
	for (size_t i = 0; i < CHAPTERS; i++) {
		const struct chapter *one = chapters[i];
		void (*steps[])(void) = { one->open, one->plant, one->plant_freed };

		chapter = one->name;
		if (steps[step] && is_chosen(one))
			steps[step]();
	}
}

static void inside(const char *when)
{
	for (int i = 0; i < closed_count; i++)
		close(closed_inside[i]);
	if (!strcmp(when, "first"))
		exclude_self("verdict");
	tell("torture.pid", "", getpid());
	all(PLANT);
	all(PLANT_FREED);
	if (!strcmp(when, "late"))
		exclude_self("verdict");
	tell("planted", "ok", 0);
	for (;;)
		pause();
}

static void verify(int restored)
{
	for (size_t i = 0; i < CHAPTERS; i++) {
		chapter = chapters[i]->name;
		if (chapters[i]->verify && is_chosen(chapters[i]))
			chapters[i]->verify(restored);
	}
	tell("verdict", "ok", restored);
	exit(0);
}

int main(int count, char **arguments)
{
	pid_t child;

	if (count != 3 && count != 4)
		return 2;
	seed = strtoull(arguments[1], NULL, 16);
	chosen = arguments[3];
	all(OPEN);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		inside(arguments[2]);
	for (;;) {
		int status;

		if (waitpid(child, &status, WNOHANG) == child) {
			broken_unless(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
				      "the one inside has ended");
			verify(1);
		}
		if (!access(FOLDER "/verify", F_OK))
			verify(0);
		usleep(100000);
	}
}
