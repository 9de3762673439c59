/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes one JSON text. It grows; where there is no memory, json_end() says so. */
#ifndef SPARC_JSON_H
#define SPARC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json {
	char *text;
	size_t used, room;
	bool failed, comma;
};

/* `name` is NULL in a list and outside everything. */
void json_open(struct json *json, const char *name, char bracket);
void json_close(struct json *json, char bracket);
void json_number(struct json *json, const char *name, int64_t number);
void json_bool(struct json *json, const char *name, bool value);
void json_null(struct json *json, const char *name);
/* Text of the host's: UTF-8 goes through, whatever else becomes \u00XX. NULL is null. */
void json_string(struct json *json, const char *name, const char *string);
/* A guest's, up to its NUL or `bytes`: what is no printable ASCII becomes \u00XX. */
void json_guest_string(struct json *json, const char *name, const char *string, size_t bytes);
/* A text that is JSON already. */
void json_raw(struct json *json, const char *name, const char *text);

/* The text and a line feed, for the caller to free; or NULL. */
char *json_end(struct json *json);

#endif /* SPARC_JSON_H */
