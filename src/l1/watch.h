/* SPDX-License-Identifier: BSD-3-Clause */
/* watch: WATCHed keys of a shard. A write to one marks its watchers dirty; EXEC reads the mark while it holds the
 * locks of the watched shards, so no write can slip between. All functions need the shard locked. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"

/* One watched key of one session; owned by the session, linked into the shard. */
struct watch {
    struct watch *next;      /* in the shard's chain */
    _Atomic bool *dirty;     /* the session's mark */
    uint64_t hash;
    int64_t expire_ms;       /* the key's deadline when watched, -1 none: its passing dirties, too */
    uint8_t db;
    uint32_t name_len;
    char name[];
};

enum { WATCH_BUCKETS = 16 };

struct watch_table {
    uint32_t count;
    struct watch *buckets[WATCH_BUCKETS];
};

void watch_add(struct watch_table *t, struct watch *w);
void watch_remove(struct watch_table *t, struct watch *w);
void watch_touch_slow(struct watch_table *t, const struct key *key);
/* FLUSH*, SWAPDB: touches every watch of the physical database, or of all when db < 0. */
void watch_touch_db(struct watch_table *t, int db);

/* The key changed. Inline no-op when nothing is watched in the shard. */
static inline void watch_touch(struct watch_table *t, const struct key *key) {
    if (__builtin_expect(t->count != 0, 0)) {
        watch_touch_slow(t, key);
    }
}
