/* What the files of the chapter `sockets` share. */
#ifndef TORTURE_SOCKETS_H
#define TORTURE_SOCKETS_H

#include <sys/types.h>

#include "torture.h"

#define SOME (100 * COPY)
#define MANY 32

/* Writes or sends a message of copies; reads that many bytes. */
void put_copies(int end, size_t size, enum class_id id);
void take_copies(int end, size_t size);

/* The outsider's end of something: whole (restored 0), or end of file, a reset, or nothing. */
void verify_stream(int end, size_t size, enum class_id id, int restored);
void verify_message(int end, size_t size, enum class_id id, int restored);

void open_unix(void);
void plant_unix(void);
void free_unix(void);
void verify_unix(int restored);

#endif
