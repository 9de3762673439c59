// SPDX-License-Identifier: GPL-2.0-or-later
#include "report.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

#define COUNT(array)	(sizeof(array) / sizeof((array)[0]))
#define MOST_NAMES	65536u

static const char *const reasons[] = {
	[REASON_OK] = "ok",
	[REASON_NOTHING_EXCLUDED] = "nothing-excluded",
	[REASON_NO_MODULE] = "no-module",
	[REASON_NOT_ASKED] = "not-asked",
	[REASON_TIMEOUT] = "timeout",
	[REASON_GUEST_FAILED] = "guest-failed",
	[REASON_BAD_MANIFEST] = "bad-manifest",
	[REASON_AMBIGUOUS] = "ambiguous",
	[REASON_POLICY_OFF] = "policy-off",
	[REASON_NO_MEMORY] = "no-memory",
	[REASON_SCREEN] = "screen",
	[REASON_DEVICES] = "devices",
	[REASON_TELEPORT] = "teleport",
	[REASON_INTERNAL] = "internal",
};

static const char *const guest_reasons[] = {
	[SPARC_REASON_NONE] = "none",
	[SPARC_REASON_NO_SERVICE] = "no-service",
	[SPARC_REASON_FREEZE] = "freeze",
	[SPARC_REASON_BUSY] = "busy",
	[SPARC_REASON_NO_ROOM] = "no-room",
	[SPARC_REASON_NO_MEMORY] = "no-memory",
	[SPARC_REASON_SWAP] = "swap",
	[SPARC_REASON_LOST] = "lost",
	[SPARC_REASON_ABANDONED] = "abandoned",
	[SPARC_REASON_SERVICE] = "service",
	[SPARC_REASON_WRITE_BACK] = "write-back",
};

static const char *const guest_sentences[] = {
	[SPARC_REASON_NONE] = "it gave no reason",
	[SPARC_REASON_NO_SERVICE] = "sparc-guestd does not run in it",
	[SPARC_REASON_FREEZE] = "a process could not be frozen",
	[SPARC_REASON_BUSY] = "its memory stayed in motion",
	[SPARC_REASON_NO_ROOM] = "the list of what to leave out is too long",
	[SPARC_REASON_NO_MEMORY] = "it lacked memory to note what to leave out",
	[SPARC_REASON_SWAP] = "swap could not be emptied and overwritten",
	[SPARC_REASON_LOST] = "it waited too long for the host and went on",
	[SPARC_REASON_ABANDONED] = "the host had given up",
	[SPARC_REASON_SERVICE] = "sparc-guestd failed",
	[SPARC_REASON_WRITE_BACK] = "a disk of its did not take the files of excluded processes in time",
};

static const char *const kinds[SPARC_KINDS] = {
	[SPARC_KIND_OTHER] = "other",
	[SPARC_KIND_ANON] = "anon",
	[SPARC_KIND_FILE] = "file",
	[SPARC_KIND_SHMEM] = "shmem",
	[SPARC_KIND_PIPE] = "pipe",
	[SPARC_KIND_SOCKET] = "socket",
	[SPARC_KIND_TTY] = "tty",
	[SPARC_KIND_CONSOLE] = "console",
	[SPARC_KIND_REGISTERS] = "registers",
	[SPARC_KIND_FREE] = "free",
	[SPARC_KIND_DISPLAY] = "display",
	[SPARC_KIND_SWAP_CACHE] = "swap-cache",
};

static const char *const displays[] = {
	[SPARC_DISPLAY_KEEP] = "keep",
	[SPARC_DISPLAY_TEXT] = "text",
	[SPARC_DISPLAY_ALL] = "all",
};

static const char *const states[] = {
	[SPARC_STATE_IDLE] = "idle",
	[SPARC_STATE_PREPARING] = "preparing",
	[SPARC_STATE_PARKED] = "parked",
	[SPARC_STATE_FAILED] = "failed",
};

const char *policy_word(enum policy_mode mode)
{
	static const char *const words[] = { "strict", "warn", "off" };

	return words[mode];
}

const char *reason_word(enum checkpoint_reason reason)
{
	return reasons[reason];
}

/* The guest's own reason counts only where it is one that it gave for this save. */
static uint32_t guest_reason(const struct checkpoint *checkpoint)
{
	if (checkpoint->reason != REASON_GUEST_FAILED)
		return SPARC_REASON_NONE;
	return checkpoint->park.status.reason;
}

static const char *sentence(const struct checkpoint *checkpoint)
{
	if (!checkpoint->prepared && checkpoint->reason == REASON_INTERNAL)
		return "VirtualBox ended the save before it came to the guest's memory.";
	switch (checkpoint->reason) {
	case REASON_OK:
		return "The excluded programs were kept out.";
	case REASON_NOTHING_EXCLUDED:
		return "No program was ever excluded in the guest.";
	case REASON_NO_MODULE:
		return "sparc does not run in the guest.";
	case REASON_NOT_ASKED:
		return "The machine was stopped without the guest being asked first; resume it and try again.";
	case REASON_AMBIGUOUS:
		return "The guest has more than one mailbox of sparc, and one of them is false.";
	case REASON_POLICY_OFF:
		return "The machine's policy is off: excluded programs are in the checkpoint.";
	case REASON_NO_MEMORY:
		return "The host lacked memory to keep what belongs to the excluded programs.";
	case REASON_TELEPORT:
		return "The machine was teleported, whole.";
	case REASON_INTERNAL:
		return "VirtualBox did not let the guest's memory be changed.";
	default:
		return NULL;
	}
}

const char *report_message(const struct checkpoint *checkpoint, char *buffer, size_t room)
{
	uint32_t reason = guest_reason(checkpoint);
	const char *fault = checkpoint->manifest.fault;

	if (sentence(checkpoint))
		snprintf(buffer, room, "%s", sentence(checkpoint));
	else if (checkpoint->reason == REASON_TIMEOUT)
		snprintf(buffer, room, "The guest did not answer within %u ms.",
			 checkpoint->policy.timeout_ms);
	else if (checkpoint->reason == REASON_GUEST_FAILED)
		snprintf(buffer, room, "The guest could not hold still: %s.",
			 reason < COUNT(guest_sentences) ? guest_sentences[reason] : "reason unknown");
	else if (checkpoint->reason == REASON_SCREEN)
		snprintf(buffer, room, "The guest's screen could not be blanked: %s.", checkpoint->fault);
	else if (checkpoint->reason == REASON_DEVICES)
		snprintf(buffer, room, "What the machine's devices hold could not be blanked: %s.",
			 checkpoint->fault);
	else if (fault)
		snprintf(buffer, room, "The guest's list of what to leave out is wrong: %s.", fault);
	else
		snprintf(buffer, room, "The guest's sparc is of another version than this host's.");
	return buffer;
}

static void put_machine(struct json *json, const struct machine_name *machine)
{
	json_open(json, "vm", '{');
	json_string(json, "name", machine->name);
	json_string(json, "uuid", machine->uuid);
	json_close(json, '}');
}

static void put_time(struct json *json, time_t when)
{
	char text[32] = "";
	struct tm parts;

	if (gmtime_r(&when, &parts))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
	json_string(json, "time", text);
}

static void put_verdict(struct json *json, const struct checkpoint *checkpoint)
{
	const struct sparc_status *status = &checkpoint->park.status;
	bool guest = checkpoint->reason == REASON_GUEST_FAILED;
	uint32_t reason = guest_reason(checkpoint);
	char message[256];

	json_bool(json, "saved", checkpoint->saved);
	json_bool(json, "clean", checkpoint_clean(checkpoint));
	json_string(json, "reason", reasons[checkpoint->reason]);
	json_string(json, "guest_reason",
		    reason < COUNT(guest_reasons) ? guest_reasons[reason] : "none");
	json_number(json, "guest_pid", guest ? status->reason_pid : 0);
	json_guest_string(json, "guest_name", status->reason_comm,
			  guest ? sizeof(status->reason_comm) : 0);
	json_string(json, "message", report_message(checkpoint, message, sizeof(message)));
}

static void put_contents(struct json *json, const struct checkpoint *checkpoint)
{
	bool ok = checkpoint->took_out;
	const struct manifest *manifest = &checkpoint->manifest;
	const struct sparc_manifest none = { 0 };
	const struct sparc_manifest *head = ok ? &manifest->head : &none;

	json_open(json, "excluded", '[');
	for (uint32_t i = 0; i < head->processes && i < MOST_NAMES; i++) {
		json_open(json, NULL, '{');
		json_number(json, "pid", manifest->processes[i].pid);
		json_guest_string(json, "name", manifest->processes[i].comm, SPARC_COMM_LEN);
		json_close(json, '}');
	}
	json_close(json, ']');
	json_open(json, "kinds", '{');
	for (int i = 0; i < SPARC_KINDS; i++) {
		if (!kinds[i] || (!head->kind_pages[i] && !head->kind_bytes[i]))
			continue;
		json_open(json, kinds[i], '{');
		json_number(json, "pages", head->kind_pages[i]);
		json_number(json, "bytes", head->kind_bytes[i]);
		json_close(json, '}');
	}
	json_close(json, '}');
	json_open(json, "pages", '{');
	json_number(json, "drop", head->drop_pages);
	json_number(json, "stash", head->stash_pages);
	json_close(json, '}');
	json_number(json, "extents", head->extents);
	json_number(json, "stash_bytes", checkpoint->stash_bytes);
	json_bool(json, "stash_locked", checkpoint->stash_locked);
	json_string(json, "display", displays[head->display]);
	json_number(json, "display_bytes", checkpoint->screen_bytes);
	json_number(json, "device_values", checkpoint->devices_blanked);
	json_null(json, "spins");
}

static void put_steps(struct json *json, const struct checkpoint *checkpoint)
{
	json_open(json, "steps_us", '{');
	json_number(json, "prepare", checkpoint->park.prepare_us);
	json_number(json, "suspend", checkpoint->park.suspend_us);
	json_number(json, "stash", checkpoint->stash_us);
	json_number(json, "zero", checkpoint->zero_us);
	json_number(json, "write", checkpoint->write_us);
	json_number(json, "put_back", checkpoint->put_back_us);
	json_close(json, '}');
}

char *report_text(const struct checkpoint *checkpoint, const struct machine_name *machine,
		  const char *state_file, time_t when)
{
	struct json json = { 0 };

	json_open(&json, NULL, '{');
	json_number(&json, "version", 1);
	put_time(&json, when);
	put_machine(&json, machine);
	json_string(&json, "state_file", state_file);
	json_bool(&json, "live", checkpoint->live);
	json_string(&json, "policy", policy_word(checkpoint->policy.mode));
	put_verdict(&json, checkpoint);
	put_contents(&json, checkpoint);
	put_steps(&json, checkpoint);
	json_close(&json, '}');
	return json_end(&json);
}

char *status_text(const struct park *now, const struct policy *policy,
		  const struct machine_name *machine, const char *last)
{
	bool known = now->outcome == PARK_NOT_ASKED || now->outcome == PARK_NOT_ARMED;
	bool module = now->outcome != PARK_NO_MODULE;
	uint32_t state = SPARC_WORD_WHAT(now->status.word);
	uint32_t reason = now->status.reason;
	struct json json = { 0 };

	json_open(&json, NULL, '{');
	json_number(&json, "version", 1);
	json_string(&json, "pack", PACK_VERSION);
	put_machine(&json, machine);
	json_string(&json, "policy", policy_word(policy->mode));
	json_number(&json, "timeout_ms", policy->timeout_ms);
	json_bool(&json, "module", module);
	if (known || now->outcome == PARK_FOREIGN)
		json_number(&json, "abi", now->mailbox.abi);
	else
		json_null(&json, "abi");
	json_bool(&json, "armed", known && now->status.armed);
	json_number(&json, "members", known ? now->status.members : 0);
	json_string(&json, "state", known && state < COUNT(states) ? states[state] : "idle");
	json_string(&json, "reason",
		    known && reason < COUNT(guest_reasons) ? guest_reasons[reason] : "none");
	if (last)
		json_raw(&json, "last", last);
	else
		json_null(&json, "last");
	json_close(&json, '}');
	return json_end(&json);
}
