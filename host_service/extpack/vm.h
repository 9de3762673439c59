/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_VM_H
#define SPARC_VM_H

#include <stdbool.h>

/*
 * Do what can only be done once the machine is whole; false if it is not. The caller has
 * its turn. VirtualBox announces the power-on of a machine restored to a pause too late.
 */
bool vm_get_ready(void);

#endif /* SPARC_VM_H */
