// SPDX-License-Identifier: GPL-2.0-or-later
#include "crc32.h"

#include <pthread.h>
#include <string.h>

/* Eight tables, so that eight bytes are taken at once: manifests have megabytes. */
static uint32_t tables[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		tables[0][i] = crc;
	}
	for (int table = 1; table < 8; table++)
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t crc = tables[table - 1][i];

			tables[table][i] = crc >> 8 ^ tables[0][crc & 0xff];
		}
}

uint32_t crc32_update(uint32_t crc, const void *data, size_t bytes)
{
	const uint8_t *at = data;

	pthread_once(&once, make_tables);
	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, at += 8) {
		uint64_t word;
		uint32_t next = 0;

		memcpy(&word, at, 8);
		word ^= crc;
		for (int i = 0; i < 8; i++)
			next ^= tables[7 - i][word >> 8 * i & 0xff];
		crc = next;
	}
	while (bytes--)
		crc = crc >> 8 ^ tables[0][(crc ^ *at++) & 0xff];
	return ~crc;
}
