/* SPDX-License-Identifier: BSD-3-Clause */
/* log: one line per event, to stdout or a file, in Redis's line format. Any thread. */
#pragma once

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING, LOG_NOTHING };

/* Lines below the level are dropped. */
void log_set_level(enum log_level level);
/* NULL or "" is stdout. False, and the old sink kept, when the file cannot be opened. */
bool log_open(const char *path);

#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)
#define log_verbose(...) log_line(LOG_VERBOSE, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
