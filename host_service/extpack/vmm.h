/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VirtualBox's own functions, found by name. */
#ifndef SPARC_VMM_H
#define SPARC_VMM_H

#include "vbox.h"

struct vmm {
	void *library;
	vbox_suspend_fn *suspend;
	vbox_resume_fn *resume;
	vbox_save_fn *save;
	struct uvm *(*get_uvm)(struct vm *vm);
	int (*get_state)(struct uvm *uvm);
	const char *(*get_state_name)(int state);
	const char *(*get_name)(struct uvm *uvm);
	void *(*get_uuid)(struct uvm *uvm, void *uuid);
	void *(*get_cpu)(struct vm *vm);
	vbox_register_fn *register_unit;
	int (*deregister_unit)(struct uvm *uvm, const char *name);
	int (*save_after)(struct ssm *ssm);
	int (*save_status)(struct ssm *ssm);
	int (*put_u32)(struct ssm *ssm, uint32_t value);
	int (*read)(struct vm *vm, void *to, uint64_t gpa, size_t bytes);
	int (*write)(struct vm *vm, uint64_t gpa, const void *from, size_t bytes);
	bool (*is_normal)(struct vm *vm, uint64_t gpa);
	int (*map)(struct vm *vm, uint64_t gpa, void **page, struct vbox_page_lock *lock);
	int (*map_read_only)(struct vm *vm, uint64_t gpa, const void **page, struct vbox_page_lock *lock);
	void (*unmap)(struct vm *vm, struct vbox_page_lock *lock);
	uint64_t (*ram_below_4g)(struct vm *vm);	/* bytes; 32 bits are returned */
	uint64_t (*ram_above_4g)(struct vm *vm);	/* bytes */
	int (*get_range)(struct vm *vm, uint32_t which, uint64_t *first, uint64_t *last,
			 const char **description, bool *is_mmio);
	int (*runtime_error)(struct vm *vm, uint32_t flags, const char *id, const char *format, ...);
};

/*
 * Fill in all of it from the VBoxVMM.so that the machine's function table lies in.
 * Returns NULL, or the name of the first function that is missing.
 */
const char *vmm_open(struct vmm *vmm, const void *table);

#endif /* SPARC_VMM_H */
