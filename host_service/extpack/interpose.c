// SPDX-License-Identifier: GPL-2.0-or-later
#include "interpose.h"

#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "log.h"
#include "machine.h"
#include "picture.h"
#include "policy.h"
#include "statefile.h"
#include "vm.h"

/* The save going on; whoever set machine.saving owns it, with the thread it saves on. */
static struct checkpoint checkpoint;
static bool unannounced;	/* a save that did not come through interpose_save() */

static bool goes_on(void *context)
{
	(void)context;
	return machine_is("RUNNING");
}

/* VirtualBox's own threads are not to wait for a guest that runs on them. */
static bool begin_turn(struct uvm *uvm)
{
	struct timespec until;

	if (uvm != machine.uvm || machine.vmm.get_cpu(machine.vm))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += MOST_TIMEOUT_MS / 1000 + 1;
	if (pthread_mutex_clocklock(&machine.turn, CLOCK_MONOTONIC, &until))
		return false;
	if (vm_get_ready())
		return true;
	pthread_mutex_unlock(&machine.turn);
	return false;
}

static void end_turn(void)
{
	pthread_mutex_unlock(&machine.turn);
}

/* Ask a running guest to park, if there is anything to ask of it. */
static void ask(struct park *park)
{
	struct policy policy;

	handshake_look(&machine.guest.outside, park);
	if (park->outcome != PARK_NOT_ASKED)
		return;
	policy = policy_read(machine.name.uuid, false);
	if (policy.mode == POLICY_OFF) {
		park->outcome = PARK_POLICY_OFF;
		return;
	}
	handshake_park(&machine.guest.outside, park, policy.timeout_ms, goes_on, NULL);
	if (park->outcome != PARK_DONE)
		log_line("the guest did not park (%s)",
			 park->outcome == PARK_FAILED ? "it said so" : "time-out");
}

/* Whatever comes of the guest, the pause itself is VirtualBox's affair. */
static int suspend_parked(struct uvm *uvm, int reason)
{
	struct park park = { 0 };
	uint64_t start;
	int status;

	if (!machine_is("RUNNING"))
		return machine.vmm.suspend(uvm, reason);
	ask(&park);
	start = clock_us();
	status = machine.vmm.suspend(uvm, reason);
	park.suspend_us = clock_us() - start;
	if (VBOX_FAILED(status)) {
		handshake_release(&machine.guest.outside);
		park = (struct park){ 0 };
	} else {
		handshake_verify(&machine.guest.outside, &park);
	}
	machine_set_park(&park);
	return status;
}

static int resume_released(struct uvm *uvm, int reason)
{
	const struct park none = { 0 };

	/* Of any other state VirtualBox lets nothing be resumed. */
	if (!machine_is("SUSPENDED"))
		return machine.vmm.resume(uvm, reason);
	handshake_release(&machine.guest.outside);
	machine_set_park(&none);
	return machine.vmm.resume(uvm, reason);
}

int interpose_suspend(struct uvm *uvm, int reason)
{
	int status;

	/* No save can come in between when a medium is changed. */
	if (reason == VBOX_SUSPEND_RECONFIGURE || !begin_turn(uvm))
		return machine.vmm.suspend(uvm, reason);
	status = suspend_parked(uvm, reason);
	end_turn();
	return status;
}

int interpose_resume(struct uvm *uvm, int reason)
{
	int status;

	if (!begin_turn(uvm))
		return machine.vmm.resume(uvm, reason);
	status = resume_released(uvm, reason);
	end_turn();
	return status;
}

static void begin_checkpoint(bool live)
{
	checkpoint = (struct checkpoint){
		.live = live,
		.policy = policy_read(machine.name.uuid, true),
		.reason = REASON_INTERNAL,
	};
}

/* A live save of a guest with exclusions becomes one of a paused machine. */
static bool pause_live(struct uvm *uvm)
{
	struct park now;
	bool paused;

	handshake_look(&machine.guest.outside, &now);
	paused = now.outcome == PARK_NOT_ASKED && checkpoint.policy.mode != POLICY_OFF &&
		 !VBOX_FAILED(suspend_parked(uvm, VBOX_SUSPEND_USER));
	checkpoint.streamed = !paused;
	return paused;
}

/*
 * Say it where a user of the window sees it, in a dialog, and not again while nothing changes;
 * all others see the status in VirtualBox's own words.
 */
static void show_refusal(void)
{
	static enum checkpoint_reason shown = REASON_OK;
	bool again = checkpoint.refused && checkpoint.reason == shown;
	char message[256];
	size_t length;

	shown = checkpoint.refused ? checkpoint.reason : REASON_OK;
	if (!checkpoint.refused || again || !machine.vmm.runtime_error)
		return;
	report_message(&checkpoint, message, sizeof(message));
	/* The dialog ends what it is told with a period of its own. */
	length = strlen(message);
	if (length && message[length - 1] == '.')
		message[length - 1] = '\0';
	machine.vmm.runtime_error(machine.vm, VBOX_RUNTIME_ERROR_NO_WAIT, "SparcCheckpoint",
				  "No checkpoint was taken, since it would hold memory of programs that "
				  "sparc keeps out. %s", message);
}

/* The machine goes on without something that was its: nobody must take it for sound. */
static void show_damage(void)
{
	if (checkpoint.not_put_back && machine.vmm.runtime_error)
		machine.vmm.runtime_error(machine.vm, VBOX_RUNTIME_ERROR_NO_WAIT, "SparcMemory",
					  "%zu pieces of this machine's memory could not be put back after "
					  "the checkpoint; they are zeros now. Restore an earlier "
					  "checkpoint, or restart the machine",
					  checkpoint.not_put_back);
}

int interpose_save(struct uvm *uvm, const char *path, const void *stream, void *stream_user,
		   bool goes_on_after, vbox_progress_fn *progress, void *user, bool *suspended)
{
	bool paused = false;
	char *state_file;
	int status;

	if (__atomic_test_and_set(&machine.saving, __ATOMIC_SEQ_CST))
		return machine.vmm.save(uvm, path, stream, stream_user, goes_on_after, progress,
					user, suspended);
	if (!begin_turn(uvm)) {
		__atomic_clear(&machine.saving, __ATOMIC_SEQ_CST);
		return machine.vmm.save(uvm, path, stream, stream_user, goes_on_after, progress,
					user, suspended);
	}
	begin_checkpoint(machine_is("RUNNING"));
	state_file = path ? strdup(path) : statefile_find();
	if (checkpoint.live)
		paused = pause_live(uvm);
	checkpoint.park = machine_park();
	end_turn();

	status = machine.vmm.save(uvm, path, stream, stream_user, goes_on_after, progress, user,
				  suspended);

	/* A net: interpose_save_done() has done so, but for what VirtualBox let nobody write. */
	checkpoint_finish(&checkpoint, &machine.guest.outside);
	checkpoint.saved = !VBOX_FAILED(status);
	/* Of a live save that failed, not every VirtualBox learns that it must resume. */
	if (paused && checkpoint.saved)
		*suspended = true;
	else if (checkpoint.live && (paused || checkpoint.refused) && machine_is("SUSPENDED")) {
		*suspended = false;
		interpose_resume(uvm, VBOX_RESUME_STATE_SAVED);
	}
	machine_report(&checkpoint, state_file);
	show_refusal();
	show_damage();
	checkpoint_free(&checkpoint);
	free(state_file);
	__atomic_clear(&machine.saving, __ATOMIC_SEQ_CST);
	return status;
}

/* VirtualBox's own parts save themselves after this, and what they hold is blanked as they do. */
static bool prepare_parts(void)
{
	bool screen = checkpoint.screen.pieces;
	const char *fault = devices_fault();

	if (checkpoint.reason != REASON_OK)
		return true;
	if (fault)
		return checkpoint_spoil(&checkpoint, &machine.guest.inside, REASON_DEVICES, fault);
	fault = screen ? picture_begin() : NULL;
	if (fault)
		return checkpoint_spoil(&checkpoint, &machine.guest.inside, REASON_SCREEN, fault);
	devices_begin(screen ? machine.guest.video.bytes : 0,
		      checkpoint.policy.mode == POLICY_STRICT);
	return true;
}

static void finish_parts(struct ssm *ssm)
{
	const char *picture = picture_end();
	const char *device = devices_end(&checkpoint.devices_blanked);

	/* One that was cancelled, or has failed, did not come to all of them, and leaves nothing. */
	if (VBOX_FAILED(machine.vmm.save_status(ssm)))
		return;
	if (device)
		checkpoint_spoil(&checkpoint, &machine.guest.inside, REASON_DEVICES, device);
	else if (picture)
		checkpoint_spoil(&checkpoint, &machine.guest.inside, REASON_SCREEN, picture);
}

int interpose_save_prep(struct ssm *ssm, const void *table, void *user)
{
	(void)table;
	(void)user;
	if (machine.vmm.save_after(ssm) == VBOX_AFTER_TELEPORT)
		return VBOX_SUCCESS;
	if (!__atomic_test_and_set(&machine.saving, __ATOMIC_SEQ_CST)) {
		unannounced = true;
		begin_checkpoint(false);
		checkpoint.park = machine_park();
	}
	guest_find_video(&machine.guest);
	return checkpoint_prepare(&checkpoint, &machine.guest.inside, &machine.guest.video) &&
		       prepare_parts() ? VBOX_SUCCESS : VBOX_SAVE_NOT_ALLOWED;
}

static void report_teleport(struct ssm *ssm)
{
	struct checkpoint teleport = {
		.reason = REASON_TELEPORT,
		.saved = !VBOX_FAILED(machine.vmm.save_status(ssm)),
	};

	machine_report(&teleport, NULL);
}

int interpose_save_done(struct ssm *ssm, const void *table, void *user)
{
	(void)table;
	(void)user;
	if (machine.vmm.save_after(ssm) == VBOX_AFTER_TELEPORT) {
		report_teleport(ssm);
		return VBOX_SUCCESS;
	}
	finish_parts(ssm);
	checkpoint_finish(&checkpoint, &machine.guest.inside);
	if (unannounced) {
		unannounced = false;
		checkpoint.saved = !VBOX_FAILED(machine.vmm.save_status(ssm));
		machine_report(&checkpoint, NULL);
		checkpoint_free(&checkpoint);
		__atomic_clear(&machine.saving, __ATOMIC_SEQ_CST);
	}
	return VBOX_SUCCESS;
}
