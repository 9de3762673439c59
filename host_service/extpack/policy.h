/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_POLICY_H
#define SPARC_POLICY_H

#include "checkpoint.h"

#define MOST_TIMEOUT_MS	600000

/*
 * What the machine's extra data say now: SPARC/Policy and SPARC/TimeoutMs. They are read
 * from its settings file, which VirtualBox writes anew at each change; VirtualBox gives a
 * pack no other way that stays the same from version to version. `say`: what is wrong with
 * them goes into VBox.log.
 */
struct policy policy_read(const char *uuid, bool say);

#endif /* SPARC_POLICY_H */
