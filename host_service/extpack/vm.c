// SPDX-License-Identifier: GPL-2.0-or-later
/* The module for machines: what VirtualBox calls in it, and when. */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "interpose.h"
#include "log.h"
#include "machine.h"
#include "picture.h"
#include "slots.h"
#include "status.h"
#include "vmm.h"

#define UNIT	"Sparc"

enum { SUSPEND, SAVE, RESUME, REGISTER, SLOTS };

static struct slot slots[SLOTS];

static void read_name(void)
{
	struct {
		uint32_t low;
		uint16_t middle, high;
		uint8_t rest[8];
	} uuid = { 0 };

	machine.name.name = machine.vmm.get_name(machine.uvm);
	machine.vmm.get_uuid(machine.uvm, &uuid);
	snprintf(machine.name.uuid, sizeof(machine.name.uuid),
		 "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", uuid.low, uuid.middle,
		 uuid.high, uuid.rest[0], uuid.rest[1], uuid.rest[2], uuid.rest[3], uuid.rest[4],
		 uuid.rest[5], uuid.rest[6], uuid.rest[7]);
}

/* For all versions of VirtualBox that lack something, there is nothing but a line in the log. */
static void attach(struct vm *vm, const void *table)
{
	const char *missing = vmm_open(&machine.vmm, table);

	if (missing) {
		log_line("this VirtualBox has no %s: no checkpoint is kept clean", missing);
		return;
	}
	machine.vm = vm;
	machine.uvm = machine.vmm.get_uvm(vm);
	slots[SUSPEND] = (struct slot){ machine.vmm.suspend, interpose_suspend, NULL };
	slots[SAVE] = (struct slot){ machine.vmm.save, interpose_save, NULL };
	slots[RESUME] = (struct slot){ machine.vmm.resume, interpose_resume, NULL };
	slots[REGISTER] = (struct slot){ machine.vmm.register_unit, picture_register, NULL };
	if (!slots_replace(table, slots, SLOTS))
		log_line("this VirtualBox's function table is unknown: no checkpoint is kept clean");
	else
		log_line(PACK_VERSION " watches over checkpoints");
	missing = devices_open(table, machine.vmm.library);
	if (missing)
		log_line("this VirtualBox has no %s: no checkpoint is kept clean", missing);
}

bool vm_get_ready(void)
{
	int status;

	if (machine.ready)
		return true;
	if (!slots[SAVE].place)
		return false;
	guest_open(&machine.guest, &machine.vmm, machine.vm);
	read_name();
	/* With nothing to execute, nothing of it is in the file: it can be restored anywhere. */
	status = machine.vmm.register_unit(machine.uvm, UNIT, 0, 1, 0, NULL, NULL, NULL,
					   interpose_save_prep, NULL, interpose_save_done, NULL,
					   NULL, NULL, NULL);
	if (VBOX_FAILED(status)) {
		log_line("VirtualBox does not let saves be watched (%d)", status);
		return false;
	}
	machine.ready = true;
	status_start();
	return true;
}

static void detach(void)
{
	struct machine *const m = &machine;

	status_stop();
	pthread_mutex_lock(&m->turn);
	slots_restore(slots, SLOTS);
	devices_close();
	picture_forget();
	m->ready = false;
	m->vm = NULL;
	m->uvm = NULL;
	m->name.name = NULL;
	m->park = (struct park){ 0 };
	free(m->last);
	m->last = NULL;
	pthread_mutex_unlock(&m->turn);
}

static int vm_configure(const struct vbox_vm_registration *self, void *console, struct vm *vm,
			const void *table)
{
	(void)self;
	(void)console;
	if (machine.vm)
		detach();
	attach(vm, table);
	return VBOX_SUCCESS;
}

static int vm_power_on(const struct vbox_vm_registration *self, void *console, struct vm *vm,
		       const void *table)
{
	(void)self;
	(void)console;
	(void)table;
	pthread_mutex_lock(&machine.turn);
	if (vm == machine.vm)
		vm_get_ready();
	pthread_mutex_unlock(&machine.turn);
	return VBOX_SUCCESS;
}

/* The machine still exists, but not for long. */
static void vm_power_off(const struct vbox_vm_registration *self, void *console, struct vm *vm,
			 const void *table)
{
	(void)self;
	(void)console;
	(void)vm;
	(void)table;
	if (machine.ready)
		machine.vmm.deregister_unit(machine.uvm, UNIT);
	detach();
}

static void unload(const struct vbox_vm_registration *self)
{
	(void)self;
	detach();
}

static void console_ready(const struct vbox_vm_registration *self, void *console)
{
	(void)self;
	(void)console;
}

static struct vbox_vm_registration registration = {
	.version = VBOX_VM_VERSION,
	.console_ready = console_ready,
	.unload = unload,
	.vm_configure = vm_configure,
	.vm_power_on = vm_power_on,
	.vm_power_off = vm_power_off,
	.end = VBOX_VM_VERSION,
};

__attribute__((visibility("default")))
int VBoxExtPackVMRegister(const struct vbox_helpers *helpers,
			  const struct vbox_vm_registration **result, void *error);

int VBoxExtPackVMRegister(const struct vbox_helpers *helpers,
			  const struct vbox_vm_registration **result, void *error)
{
	(void)error;
	if (!VBOX_SAME_MAJOR(helpers->version, VBOX_HELPERS_VERSION))
		return VBOX_VERSION_MISMATCH;
	registration.vbox_version = helpers->vbox_version;
	if (VBOX_MAJOR(helpers->vbox_version) != 7) {
		/* Its tables and callbacks are others. */
		registration.vm_configure = NULL;
		registration.vm_power_on = NULL;
		registration.vm_power_off = NULL;
	}
	*result = &registration;
	return VBOX_SUCCESS;
}
