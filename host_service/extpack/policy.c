// SPDX-License-Identifier: GPL-2.0-or-later
#include "policy.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "statefile.h"

#define MOST_BYTES		(64u << 20)
#define DEFAULT_TIMEOUT_MS	5000
#define LEAST_TIMEOUT_MS	100

/* The whole of a file with a NUL at its end, for the caller to free; or NULL. */
static char *read_file(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat found;
	char *text = NULL;
	ssize_t got = 0;
	size_t used = 0;

	if (file < 0)
		return NULL;
	if (!fstat(file, &found) && S_ISREG(found.st_mode) && found.st_size < MOST_BYTES)
		text = malloc(found.st_size + 1);
	while (text && used < (size_t)found.st_size &&
	       (got = read(file, text + used, found.st_size - used)) > 0)
		used += got;
	close(file);
	if (text)
		text[used] = '\0';
	return text;
}

/* The value of an attribute of the tag that begins at `tag`, or false. Values hold no quotes. */
static bool attribute(const char *tag, const char *name, char *value, size_t room)
{
	const char *end = strchr(tag, '>');
	char start[32];
	const char *at;
	size_t length;

	snprintf(start, sizeof(start), " %s=\"", name);
	at = strstr(tag, start);
	if (!at || !end || at > end)
		return false;
	at += strlen(start);
	length = strcspn(at, "\"");
	if (length >= room)
		return false;
	memcpy(value, at, length);
	value[length] = '\0';
	return true;
}

/* The tag of that kind whose attribute has that value; or NULL. */
static const char *find_tag(const char *text, const char *tag, const char *name, const char *wanted)
{
	char value[64];

	while ((text = strstr(text, tag))) {
		if (attribute(text, name, value, sizeof(value)) && !strcmp(value, wanted))
			return text;
		text += strlen(tag);
	}
	return NULL;
}

/* The settings if they are this machine's, for the caller to free; or NULL. */
static char *settings_at(const char *path, const char *uuid)
{
	char braced[64];
	char *text = read_file(path);

	snprintf(braced, sizeof(braced), "{%s}", uuid);
	if (text && find_tag(text, "<Machine ", "uuid", braced))
		return text;
	free(text);
	return NULL;
}

/* By VirtualBox's own list of all machines. */
static char *settings_by_list(const char *folder, const char *below, const char *uuid)
{
	char path[PATH_MAX], source[PATH_MAX], braced[64];
	const char *tag;
	char *list, *text = NULL;

	if (!folder || !*folder ||
	    snprintf(path, sizeof(path), "%s%s/VirtualBox.xml", folder, below) >= PATH_MAX)
		return NULL;
	list = read_file(path);
	snprintf(braced, sizeof(braced), "{%s}", uuid);
	tag = list ? find_tag(list, "<MachineEntry ", "uuid", braced) : NULL;
	if (!tag || !attribute(tag, "src", source, sizeof(source)))
		source[0] = '\0';
	if (source[0] == '/')
		text = settings_at(source, uuid);
	else if (source[0] && snprintf(path, sizeof(path), "%s%s/%s", folder, below, source) <
				      PATH_MAX)
		text = settings_at(path, uuid);
	free(list);
	return text;
}

/* By the folder in which VirtualBox keeps the machine's log. */
static char *settings_by_log(const char *uuid)
{
	char *folder = statefile_log_folder();
	DIR *entries = folder ? opendir(folder) : NULL;
	struct dirent *entry;
	char path[PATH_MAX];
	char *text = NULL;

	while (entries && !text && (entry = readdir(entries))) {
		size_t length = strlen(entry->d_name);

		if (length <= 5 || strcmp(entry->d_name + length - 5, ".vbox") ||
		    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= PATH_MAX)
			continue;
		text = settings_at(path, uuid);
	}
	if (entries)
		closedir(entries);
	free(folder);
	return text;
}

static char *settings(const char *uuid)
{
	char *text = settings_by_log(uuid);

	if (!text)
		text = settings_by_list(getenv("VBOX_USER_HOME"), "", uuid);
	if (!text)
		text = settings_by_list(getenv("XDG_CONFIG_HOME"), "/VirtualBox", uuid);
	if (!text)
		text = settings_by_list(getenv("HOME"), "/.config/VirtualBox", uuid);
	if (!text)
		text = settings_by_list(getenv("HOME"), "/.VirtualBox", uuid);
	return text;
}

static bool extra_data(const char *text, const char *key, char *value, size_t room)
{
	const char *tag = find_tag(text, "<ExtraDataItem ", "name", key);

	return tag && attribute(tag, "value", value, room) && *value;
}

static enum policy_mode mode_of(const char *word, bool say)
{
	if (!strcmp(word, "warn"))
		return POLICY_WARN;
	if (!strcmp(word, "off"))
		return POLICY_OFF;
	if (say && strcmp(word, "strict"))
		log_line("SPARC/Policy is neither strict, warn nor off: taken for strict");
	return POLICY_STRICT;
}

static unsigned int timeout_of(const char *word, bool say)
{
	char *end;
	unsigned long number = strtoul(word, &end, 10);

	if (*word >= '0' && *word <= '9' && !*end && number >= LEAST_TIMEOUT_MS &&
	    number <= MOST_TIMEOUT_MS)
		return number;
	if (say)
		log_line("SPARC/TimeoutMs is not from %d to %d: taken for %d", LEAST_TIMEOUT_MS,
			 MOST_TIMEOUT_MS, DEFAULT_TIMEOUT_MS);
	return DEFAULT_TIMEOUT_MS;
}

struct policy policy_read(const char *uuid, bool say)
{
	struct policy policy = { POLICY_STRICT, DEFAULT_TIMEOUT_MS };
	char *text = settings(uuid);
	char word[32];

	if (!text) {
		if (say)
			log_line("cannot read the machine's settings: the policy is strict");
		return policy;
	}
	if (extra_data(text, "SPARC/Policy", word, sizeof(word)))
		policy.mode = mode_of(word, say);
	if (extra_data(text, "SPARC/TimeoutMs", word, sizeof(word)))
		policy.timeout_ms = timeout_of(word, say);
	free(text);
	return policy;
}
