// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * blank NAME SCREEN: a device that hands over its state. Each line of the input is how and what
 * (hexadecimal); each of the output, what is saved: the same, "zeros" or "nothing". The last line
 * is how many were blanked, whether it is broken, and what is wrong, if anything is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "blank.h"

int main(int argc, char **argv)
{
	struct blank blank;
	uint64_t value;
	char put;

	if (argc != 3 || !blank_cares(argv[1]))
		return 2;
	blank_begin(&blank, argv[1], strtoull(argv[2], NULL, 0));
	while (scanf(" %c%" SCNx64, &put, &value) == 2) {
		enum put_fate fate = blank_put(&blank, (enum put)put, &value);

		if (fate == PUT_KEEP)
			printf("%c%" PRIx64 "\n", put, value);
		else
			puts(fate == PUT_ZEROS ? "zeros" : "nothing");
	}
	blank_end(&blank);
	printf("%u %d %s\n", blank.blanked, blank.broken, blank.fault ? blank.fault : "");
	return 0;
}
