/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands in front of VirtualBox's own suspend, save and resume. */
#ifndef SPARC_INTERPOSE_H
#define SPARC_INTERPOSE_H

#include "vbox.h"

vbox_suspend_fn interpose_suspend;
vbox_save_fn interpose_save;
vbox_resume_fn interpose_resume;

/* Around the writing of guest memory, on the machine's first thread. */
vbox_ssm_fn interpose_save_prep;
vbox_ssm_fn interpose_save_done;

#endif /* SPARC_INTERPOSE_H */
