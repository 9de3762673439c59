// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The registers of excluded tasks: those saved at their last entry to the kernel,
 * the saved FPU and vector state, and what the CPUs themselves still hold of it.
 *
 * What the kernel needs to end the task stays: segments, flags and stack pointer,
 * the FPU's control words, the header of the saved state.
 */
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <asm/cpu_entry_area.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/fpu/xcr.h>
#include <asm/processor.h>
#include <asm/special_insns.h>

#include "compat.h"
#include "sparc.h"

#define FPU_CONTROL_BYTES	32
#define FPU_LEGACY_BYTES	512
#define FPU_HEADER_END		576
#define PKRU_FEATURE		BIT_ULL(9)

static int general(struct sparc_manifest *manifest, struct task_struct *task)
{
	struct pt_regs *regs = task_pt_regs(task);

	/* A thread that has ended may have no stack any more. */
	if (!refcount_read(&task->stack_refcount))
		return 0;
	/* r15 is the first, orig_ax the first of those that are needed. */
	return sparc_extent(manifest, regs, offsetof(struct pt_regs, orig_ax),
			    SPARC_KIND_REGISTERS);
}

static int vector(struct sparc_manifest *manifest, struct task_struct *task)
{
	struct fpstate *state = sparc_task_fpu(task)->fpstate;
	void *area = &state->regs;
	int error;

	error = sparc_extent(manifest, area + FPU_CONTROL_BYTES,
			     FPU_LEGACY_BYTES - FPU_CONTROL_BYTES, SPARC_KIND_REGISTERS);
	if (!error && state->size > FPU_HEADER_END)
		error = sparc_extent(manifest, area + FPU_HEADER_END,
				     state->size - FPU_HEADER_END, SPARC_KIND_REGISTERS);
	return error;
}

int sparc_registers(struct sparc_manifest *manifest, struct task_struct *task)
{
	int error = general(manifest, task);

	return error ? error : vector(manifest, task);
}

/*
 * The current thread, one of the set, is ending and never goes back to its program. What
 * it had in registers would stay in the task and the stack that are freed with it.
 */
void sparc_registers_forget(void)
{
	struct fpstate *state = sparc_task_fpu(current)->fpstate;
	void *area = &state->regs;

	/* From here on they are in memory alone, and are not saved there again. */
	kernel_fpu_begin();
	kernel_fpu_end();
	memset(area + FPU_CONTROL_BYTES, 0, FPU_LEGACY_BYTES - FPU_CONTROL_BYTES);
	if (state->size > FPU_HEADER_END)
		memset(area + FPU_HEADER_END, 0, state->size - FPU_HEADER_END);
	memset(task_pt_regs(current), 0, offsetof(struct pt_regs, orig_ax));
}

/*
 * The stack on which a program's interrupts and faults begin, before they move to the
 * task's own: all registers of the last one are still there.
 */
static void scrub_entry_stack(void)
{
	unsigned long stack = this_cpu_read(cpu_tss_rw.x86_tss.sp0) - sizeof(struct entry_stack);

	/* Where Xen does not hand out the task's own at once. */
	if (stack - CPU_ENTRY_AREA_BASE < CPU_ENTRY_AREA_MAP_SIZE)
		memset((void *)stack, 0, sizeof(struct entry_stack));
}

/*
 * Bring this CPU's FPU and vector registers to their initial state: they hold
 * those of its last user task, and a checkpoint holds the CPU's registers.
 */
static void scrub_vector(void)
{
	static const struct {
		u8 legacy[FPU_LEGACY_BYTES];
		u8 header[FPU_HEADER_END - FPU_LEGACY_BYTES];
	} initial __aligned(64) = {
		.legacy = { [0] = 0x7f, [1] = 0x03, [24] = 0x80, [25] = 0x1f },
	};

	/* Keeps what the current task has in them, and lets no task believe them its own. */
	kernel_fpu_begin();
	if (__read_cr4() & X86_CR4_OSXSAVE) {
		u64 features = xgetbv(XCR_XFEATURE_ENABLED_MASK) & ~PKRU_FEATURE;

		/* The header names no feature as present: each one gets its initial state. */
		asm volatile("xrstor64 %0" : : "m"(initial), "a"((u32)features),
			     "d"((u32)(features >> 32)) : "memory");
	} else {
		asm volatile("fxrstorq %0" : : "m"(initial) : "memory");
	}
	kernel_fpu_end();
}

/* With interrupts off, on each CPU: nothing of a program is left in it. */
void sparc_registers_scrub(void)
{
	scrub_vector();
	scrub_entry_stack();
}
