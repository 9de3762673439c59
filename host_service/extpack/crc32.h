/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_CRC32_H
#define SPARC_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 of IEEE 802.3, as zlib's: begin with 0, and give the result to go on. */
uint32_t crc32_update(uint32_t crc, const void *data, size_t bytes);

#endif /* SPARC_CRC32_H */
