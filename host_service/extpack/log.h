/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SPARC_LOG_H
#define SPARC_LOG_H

/* Find VirtualBox's release log through a library that is linked with it. */
void log_open(void *library);

/* One line into VBox.log. Nothing that came from a guest goes in unescaped. */
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);

#endif /* SPARC_LOG_H */
