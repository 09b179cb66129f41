/* SPDX-License-Identifier: BSD-3-Clause */
/* slowlog: a bounded ring of slow calls. Any thread; lock SLOWLOG. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

enum { SLOWLOG_MAX_ARGS = 32, SLOWLOG_MAX_ARG_BYTES = 128 };

/* Where the time of a call went. */
struct slow_where {
    const char *step, *tier; /* static: the step that took most of it, and the last tier that was asked */
    uint64_t waited_us;      /* for its keys, for other clients' loads of them, and for its changes to be acknowledged */
};

struct slow_entry {
    int64_t id, time_s;
    uint64_t us;
    struct slow_where where;
    int argc;
    char *argv[SLOWLOG_MAX_ARGS]; /* owned, cut with "... (N more bytes)" */
    size_t argn[SLOWLOG_MAX_ARGS];
    char *addr, *name; /* owned */
};

struct slowlog;

struct slowlog *slowlog_create(size_t max_len);
void slowlog_destroy(struct slowlog **s);
void slowlog_set_max(struct slowlog *s, size_t max_len);
void slowlog_add(struct slowlog *s, int64_t now_ms, uint64_t us, const struct slice *argv, int argc,
                 const char *addr, const char *name, const struct slow_where *where);
size_t slowlog_len(struct slowlog *s);
void slowlog_reset(struct slowlog *s);
/* Calls fn for the newest max entries, newest first, under the lock: fn must only copy. Returns how many. */
size_t slowlog_each(struct slowlog *s, size_t max, void (*fn)(void *ctx, const struct slow_entry *e),
                    void *ctx);
