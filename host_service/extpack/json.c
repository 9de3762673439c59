// SPDX-License-Identifier: GPL-2.0-or-later
#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct json *json, const char *bytes, size_t count)
{
	if (json->failed)
		return;
	if (json->room - json->used <= count) {
		size_t room = (json->used + count) * 2 + 256;
		char *text = realloc(json->text, room);

		if (!text) {
			json->failed = true;
			return;
		}
		json->text = text;
		json->room = room;
	}
	memcpy(json->text + json->used, bytes, count);
	json->used += count;
	json->text[json->used] = '\0';
}

static void put_text(struct json *json, const char *text)
{
	put(json, text, strlen(text));
}

static void put_name(struct json *json, const char *name)
{
	if (json->comma)
		put_text(json, ",");
	json->comma = true;
	if (name) {
		put_text(json, "\"");
		put_text(json, name);
		put_text(json, "\":");
	}
}

void json_open(struct json *json, const char *name, char bracket)
{
	put_name(json, name);
	put(json, &bracket, 1);
	json->comma = false;
}

void json_close(struct json *json, char bracket)
{
	put(json, &bracket, 1);
	json->comma = true;
}

void json_raw(struct json *json, const char *name, const char *text)
{
	put_name(json, name);
	put_text(json, text);
}

void json_number(struct json *json, const char *name, int64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, number);
	json_raw(json, name, text);
}

void json_bool(struct json *json, const char *name, bool value)
{
	json_raw(json, name, value ? "true" : "false");
}

void json_null(struct json *json, const char *name)
{
	json_raw(json, name, "null");
}

static void put_byte(struct json *json, uint8_t byte)
{
	char text[8];

	if (byte == '"' || byte == '\\')
		snprintf(text, sizeof(text), "\\%c", byte);
	else if (byte >= 0x20 && byte < 0x7f)
		snprintf(text, sizeof(text), "%c", byte);
	else
		snprintf(text, sizeof(text), "\\u%04x", byte);
	put_text(json, text);
}

/* Bytes of the character of more than one byte that begins here, or 0 if none does. */
static size_t utf8_length(const uint8_t *at)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
	uint32_t code = at[0] & (0x7f >> length);

	if (at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (at[i] & 0x3f);
	}
	if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return 0;
	return length;
}

void json_string(struct json *json, const char *name, const char *string)
{
	const uint8_t *at = (const uint8_t *)string;

	if (!string) {
		json_null(json, name);
		return;
	}
	put_name(json, name);
	put_text(json, "\"");
	while (*at) {
		size_t length = utf8_length(at);

		if (length)
			put(json, (const char *)at, length);
		else
			put_byte(json, *at);
		at += length ? length : 1;
	}
	put_text(json, "\"");
}

void json_guest_string(struct json *json, const char *name, const char *string, size_t bytes)
{
	put_name(json, name);
	put_text(json, "\"");
	for (size_t i = 0; i < bytes && string[i]; i++)
		put_byte(json, string[i]);
	put_text(json, "\"");
}

char *json_end(struct json *json)
{
	char *text;

	put_text(json, "\n");
	text = json->failed ? NULL : json->text;
	if (json->failed)
		free(json->text);
	memset(json, 0, sizeof(*json));
	return text;
}
