/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest memory as VirtualBox gives it: to the machine's own threads, and to all others. */
#ifndef SPARC_GUEST_H
#define SPARC_GUEST_H

#include "guest_memory.h"
#include "screen.h"
#include "vmm.h"

struct guest {
	const struct vmm *vmm;
	struct vm *vm;
	uint64_t below_4g;		/* bytes of RAM from 0 on */
	uint64_t above_4g;		/* and from 4 GB on */
	struct guest_memory inside;	/* for the machine's first thread, in a save */
	struct guest_memory outside;	/* for any other thread, while the guest may run */
	struct video video;		/* for the machine's first thread, in a save */
};

void guest_open(struct guest *guest, const struct vmm *vmm, struct vm *vm);

/* Look where video memory is: the guest may have moved it. */
void guest_find_video(struct guest *guest);

#endif /* SPARC_GUEST_H */
