/*
 * Calls what VirtualBox calls when it saves a VM, as the lines on standard input say. Answers each
 * line "done" with the same.
 */
#include <err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int SSMR3PutU8(void *ssm, uint8_t value);
int SSMR3PutU64(void *ssm, uint64_t value);
int SSMR3PutGCPhys(void *ssm, uint64_t value);
int SSMR3PutMem(void *ssm, const void *bytes, size_t count);
int VMR3Suspend(void *vm, int reason);
int VMR3Resume(void *vm, int reason);
int VMR3Teleport(void *vm, uint32_t downtime, int (*run)(void));
int VMR3Save(void *vm, const char *file, int (*run)(void), void *user, bool goes_on);
uint32_t RTCrc32(const void *bytes, size_t count);

static char bytes[65536];

static size_t header(const char *hex)
{
	size_t count = 0;
	unsigned int byte;

	while (sscanf(hex, "%2x", &byte) == 1 && count < sizeof(bytes)) {
		bytes[count++] = byte;
		hex += 2;
	}
	return count;
}

/* Until a line "end STATUS", whose status it returns. */
static int run(void)
{
	static char line[2 * sizeof(bytes)];
	char word[16];
	int at;

	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long value;

		if (sscanf(line, "%15s%n", word, &at) != 1)
			continue;
		value = strtoull(line + at, NULL, 0);
		if (!strcmp(word, "u8"))
			SSMR3PutU8(bytes, value);
		else if (!strcmp(word, "u64"))
			SSMR3PutU64(bytes, value);
		else if (!strcmp(word, "gcphys"))
			SSMR3PutGCPhys(bytes, value);
		else if (!strcmp(word, "mem"))
			SSMR3PutMem(bytes, bytes, value);
		else if (!strcmp(word, "header"))
			RTCrc32(bytes, header(line + at + 1));
		else if (!strcmp(word, "suspend"))
			VMR3Suspend(bytes, value);
		else if (!strcmp(word, "resume"))
			VMR3Resume(bytes, value);
		else if (!strcmp(word, "save"))
			VMR3Save(bytes, NULL, run, NULL, value);
		else if (!strcmp(word, "teleport"))
			VMR3Teleport(bytes, 0, run);
		else if (!strcmp(word, "end"))
			return (int)strtoll(line + at, NULL, 0);
		else if (!strcmp(word, "done"))
			puts("done");
		else
			errx(1, "%s?", word);
	}
	exit(0);
}

int main(int count, char **words)
{
	/* As VirtualBox's has it open. */
	if (count < 2 || !fopen(words[1], "a"))
		err(1, "log");
	setvbuf(stdout, NULL, _IOLBF, 0);
	return run();
}
