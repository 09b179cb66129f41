/* SPDX-License-Identifier: BSD-3-Clause */
/* print: the program's tables as text: cache.conf, and the pages of docs/ generated from rows. */
#pragma once

#include <stdbool.h>

/* conf, commands, stats, errors, locks, docs:commands, docs:config, docs:stats, docs:errors, docs:locking. False for
 * another name, which is told on stderr. */
bool print_table(const char *name);
