/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few things of VirtualBox 7.0 to 7.2 that the pack uses: its interface for
 * extension packs and the functions of VBoxVMM.so and VBoxRT.so it calls.
 */
#ifndef SPARC_VBOX_H
#define SPARC_VBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;		/* a machine as its own threads know it */
struct uvm;		/* the same as others do */
struct ssm;		/* a save going on */

#define VBOX_SUCCESS			0
#define VBOX_FAILED(status)		((status) < 0)
#define VBOX_SAVE_NOT_ALLOWED		(-1913)	/* VERR_VM_SAVE_STATE_NOT_ALLOWED */

#define VBOX_SUSPEND_USER		1
#define VBOX_SUSPEND_RECONFIGURE	2	/* of a medium, for example */
#define VBOX_RESUME_STATE_SAVED		5
#define VBOX_AFTER_TELEPORT		4

#define VBOX_RUNTIME_ERROR_NO_WAIT	4u

#define VBOX_HELPERS_VERSION		0x00050000u	/* 0.5 */
#define VBOX_MAIN_VERSION		0x00030000u	/* 0.3 */
#define VBOX_VM_VERSION			0x00000001u	/* 1.0 */
#define VBOX_SAME_MAJOR(a, b)		((a) >> 16 == (b) >> 16)
#define VBOX_MAJOR(full)		((full) >> 24)
#define VBOX_VERSION_MISMATCH		(-11)	/* VERR_VERSION_MISMATCH */

struct vbox_helpers {
	uint32_t version;
	uint32_t vbox_version;	/* major << 24 | minor << 16 | build */
	/* More follows, which is not used. */
};

typedef int vbox_reserved_fn(void);

struct vbox_main_registration {
	uint32_t version;
	uint32_t vbox_version;
	const char *nls_name;
	void (*installed)(void);
	void (*uninstall)(void);
	void (*ready)(void);
	void (*unload)(void);
	int (*vm_created)(void);
	void *(*query_object)(void);
	vbox_reserved_fn *reserved[6];
	uint32_t reserved7;
	uint32_t end;
};

struct vbox_vm_registration {
	uint32_t version;
	uint32_t vbox_version;
	const char *nls_name;
	void (*console_ready)(const struct vbox_vm_registration *self, void *console);
	void (*unload)(const struct vbox_vm_registration *self);
	int (*vm_configure)(const struct vbox_vm_registration *self, void *console, struct vm *vm,
			    const void *table);
	int (*vm_power_on)(const struct vbox_vm_registration *self, void *console, struct vm *vm,
			   const void *table);
	void (*vm_power_off)(const struct vbox_vm_registration *self, void *console, struct vm *vm,
			     const void *table);
	void *(*query_object)(const struct vbox_vm_registration *self, const void *id);
	vbox_reserved_fn *reserved[6];
	uint32_t reserved7;
	uint32_t end;
};

/* What a page mapped from guest memory is given back with; VirtualBox fills two words. */
struct vbox_page_lock {
	uint64_t opaque[8];
};

typedef int vbox_suspend_fn(struct uvm *uvm, int reason);
typedef int vbox_resume_fn(struct uvm *uvm, int reason);
typedef int vbox_progress_fn(struct uvm *uvm, unsigned int percent, void *user);
typedef int vbox_save_fn(struct uvm *uvm, const char *path, const void *stream, void *stream_user,
			 bool goes_on, vbox_progress_fn *progress, void *user, bool *suspended);
typedef int vbox_ssm_fn(struct ssm *ssm, const void *table, void *user);
typedef int vbox_register_fn(struct uvm *uvm, const char *name, uint32_t instance, uint32_t version,
			     size_t guess, vbox_ssm_fn *live_prep, vbox_ssm_fn *live_exec,
			     vbox_ssm_fn *live_vote, vbox_ssm_fn *save_prep,
			     vbox_ssm_fn *save_exec, vbox_ssm_fn *save_done,
			     vbox_ssm_fn *load_prep, vbox_ssm_fn *load_exec,
			     vbox_ssm_fn *load_done, void *user);

#endif /* SPARC_VBOX_H */
