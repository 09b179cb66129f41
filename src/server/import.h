/* SPDX-License-Identifier: BSD-3-Clause */
/* import: fills the cache from an RDB file or a live Redis while it serves. One at a time; it belongs to worker 0's loop.
 *
 * Every key takes the way a client's write takes: the policy of its name, memory, the sinks. A key that is here already stays,
 * unless REPLACE; what was taken in before a failure stays, too: it is a cache. A tier below that cannot follow slows it. */
#pragma once

#include <stdbool.h>

#include "src/base/buf.h"
#include "src/base/err.h"

struct call;
struct conn_numbers;
struct import;
struct import_order;
struct server;

struct import *import_create(struct server *srv);
/* Worker 0's loop: take no more in; true while something is still on its way. */
bool import_stopping(struct import *m);
/* After the loops. */
void import_destroy(struct import **m);

/* IMPORT: begins, or writes an error. Any loop. */
enum err import_command(struct call *c, const struct import_order *order);
/* Before the loops run: what --import named, with its progress on a terminal. False with why in err. */
bool import_at_start(struct import *m, const char *from, struct buf *err);
/* False when nothing is under way. Any thread. */
bool import_cancel(struct import *m);
/* Its lines of INFO. Any thread. */
void import_info(const struct import *m, struct buf *out);
/* Adds its connections with live servers. Any thread. */
void import_conns(const struct import *m, struct conn_numbers *n);
