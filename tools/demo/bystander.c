/*
 * The demonstration's other program: checks the sum of 128 KB of its memory every second, and says in
 * /run/bystander how often that was right.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORDS (1 << 14)

static uint64_t sum(const uint64_t *words)
{
	uint64_t total = 0;

	for (int i = 0; i < WORDS; i++)
		total = total * 31 + words[i];
	return total;
}

int main(void)
{
	uint64_t *words = malloc(WORDS * sizeof(*words));
	uint64_t right;

	if (!words)
		return 1;
	for (int i = 0; i < WORDS; i++)
		words[i] = i * 0x9e3779b97f4a7c15u;
	right = sum(words);
	for (int times = 1; sum(words) == right; times++) {
		FILE *file = fopen("/run/bystander", "w");

		if (!file || fprintf(file, "%d\n", times) < 0 || fclose(file))
			return 1;
		sleep(1);
	}
	remove("/run/bystander");
	return 1;
}
