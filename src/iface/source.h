/* SPDX-License-Identifier: BSD-3-Clause */
/* source: where a missing key may be read from (disk, a peer, an origin), as the tier sees it. A probe answers at once from
 * memory, or not at all; a fetch is asynchronous and completes, once, on the loop that asked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/iface/item.h"
#include "src/stats/tiers.h"
#include "src/value/value.h"

struct loop;
struct value;

enum fetch_result { FETCH_FOUND, FETCH_ABSENT, FETCH_ERROR };
enum probe_result { PROBE_FOUND, PROBE_ABSENT, PROBE_UNKNOWN };

/* A value that was found; the asker's. */
struct found {
    struct buf str;      /* a string's bytes, unless */
    struct value *value; /* it is an aggregate: one reference */
    bool raw;            /* the string reports encoding "raw" */
    bool same;           /* the source keeps this value and will hear of its changes: the copy above is clean */
    uint32_t written;    /* when, a stamp; 0: it is written by being found */
    int64_t expire_ms;   /* deadline or -1; past it the value may still be in its grace, as extra says */
    uint8_t extra_n;     /* what guards noted of it: struct item_extra, encoded */
    unsigned char extra[ITEM_EXTRA_MAX];
};

static inline void found_free(struct found *f) {
    buf_free(&f->str);
    if (f->value != NULL) {
        value_unref(f->value);
        f->value = NULL;
    }
}

/* One key on its way. The asker owns it, and keeps it until done was called. */
struct fetch {
    /* set by the asker */
    struct key key; /* name borrowed: stays valid until done */
    struct loop *loop;
    int64_t deadline_ms; /* wall clock */
    bool background;     /* nobody waits for it: after those somebody waits for */
    void (*done)(struct fetch *f);
    /* set by the source before done */
    enum fetch_result result;
    struct found found;
    const char *error;   /* ERROR: static text */
    /* the source's own */
    void *source_data;
};

/* A key met on a walk; borrowed while the visitor runs. */
struct walked {
    uint64_t position; /* hash_position of its hash */
    struct slice name;
    enum value_type type; /* TYPE_NONE: it is being deleted */
    bool queued;          /* a change on its way: says more than what else is met of the key, the last one most */
    int64_t expire_ms;
    struct slice extra;  /* what guards noted of it */
    struct slice record; /* its value, for unpack */
};
typedef void (*walked_fn)(void *ctx, const struct walked *found);

struct source {
    const char *name;
    void *ctx;
    enum stat_tier tier; /* what is counted of it counts for this one */
    /* From memory, with the key's shard locked, on any thread; microseconds. NULL: always PROBE_UNKNOWN. */
    enum probe_result (*probe)(struct source *s, const struct key *key, int64_t now_ms, struct found *out);
    /* Keys it has of a physical database, about; those memory has, too, among them. May be NULL. Any thread. */
    int64_t (*key_count)(struct source *s, uint8_t physical);
    /* Visits the live keys of a physical database in [from, to) of positions, to 0: to the end; some twice, in no order, and keys
     * being deleted. Stops
     * after about want of them; returns the position behind what was visited, its last 16 bits 0, to at most. May block.
     * fn must be brief. May be NULL. */
    uint64_t (*walk)(struct source *s, uint8_t physical, uint64_t from, uint64_t to, size_t want, int64_t now_ms,
                     walked_fn fn, void *ctx);
    /* From now on notes the keys of the database from a position on that come to it from memory, or are deleted: between a look at
     * memory and a walk a key may pass by both. unwatch visits those before to (0: all; fn NULL: none) in the order they came,
     * the deleted with TYPE_NONE, and ends it; false when there were too many to note. Any thread. */
    void *(*watch)(struct source *s, uint8_t physical, uint64_t from);
    bool (*unwatch)(struct source *s, void *watch, uint64_t to, walked_fn fn, void *ctx);
    /* The value of a walked record; false when it cannot be used. */
    bool (*unpack)(struct source *s, struct slice record, struct found *out);
    /* Adds what it has counted itself, and says how much it holds, for its own tier or another one. May be NULL. Any thread. */
    void (*numbers)(struct source *s, struct tier_numbers all[STAT_TIERS]);
    /* Appends its lines of INFO. May be NULL. Any thread. */
    void (*info)(struct source *s, struct buf *out);
    /* Starts f on f->loop's thread; may complete it before returning. */
    void (*fetch)(struct source *s, struct fetch *f);
};
