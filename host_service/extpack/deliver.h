/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_DELIVER_H
#define SPARC_DELIVER_H

/* Put a report beside the state file, for nobody else's eyes. 0, or -1. */
int deliver_to_file(const char *text, const char *state_file);

/* Hand it to sparc-hostd if that listens; never waits long. */
void deliver_to_service(const char *text);

#endif /* SPARC_DELIVER_H */
