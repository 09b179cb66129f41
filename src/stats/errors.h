/* SPDX-License-Identifier: BSD-3-Clause */
/* errors: how often each kind of error was answered (INFO errorstats). The kind is the reply's first word. Any thread; lock ERRORS. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

/* Bounds what a client that makes up errors can make INFO say. */
enum { ERROR_KINDS_MAX = 128, ERROR_KIND_BYTES = 31 };

struct error_counts;

struct error_counts *error_counts_create(void);
void error_counts_destroy(struct error_counts **e);
/* text: the reply behind its '-'. "ERR" when no word ends within its first ERROR_KIND_BYTES bytes. One kind more than
 * ERROR_KINDS_MAX, and nothing more is counted until error_counts_reset; ERRORSTATS_DISABLED takes the place of all. */
void error_counts_add(struct error_counts *e, struct slice text);
/* Calls fn for each kind in the order of its bytes, under the lock: fn must only copy. */
void error_counts_each(struct error_counts *e, void (*fn)(void *ctx, const char *kind, uint64_t count), void *ctx);
void error_counts_reset(struct error_counts *e);
