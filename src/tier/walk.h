/* SPDX-License-Identifier: BSD-3-Clause */
/* walk: all keys of a database, of memory and of the slower tiers, each once, in the order of positions (hash_position).
 *
 * A key may move between the tiers while an interval is looked at: it is cold, then written, or in memory, then evicted. So
 * memory is looked at twice, before the tiers below (which may block, and so need a thread that may) and after, and what comes
 * down from memory in between is noted:
 *
 *   walk_before (any thread) -> walk_below (may block) -> walk_after (any thread) -> the keys of [from, next)
 *
 * A key that was there all the time is met, one that came or went meanwhile is or is not. Unless walk_after is called with every
 * shard locked: then the keys are those of that moment. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/buf.h"
#include "src/iface/source.h"
#include "src/tier/tier.h"

/* Intervals begin and end at multiples of 1 << WALK_STEP_BITS, so that a cursor needs fewer digits. */
enum { WALK_STEP_BITS = 16 };

/* Where a key was seen; the first of them that was says what is true of it. */
enum walk_seen { WALK_IN_MEMORY, WALK_CHANGED /* noted while it was walked */, WALK_ON_ITS_WAY, WALK_BELOW };

struct walk_key {
    uint64_t position;
    size_t name, name_len; /* in walk.names */
    size_t data, data_len; /* in walk.data: what pack made of its value below; 0: not seen below */
    int64_t expire_ms;     /* of one seen below; else -1 */
    uint8_t type;          /* enum value_type */
    uint8_t seen;          /* enum walk_seen */
};

/* One interval; zeroed but for the first group. */
struct walk {
    struct tier *tier;
    uint8_t physical;
    uint64_t from;  /* position */
    size_t want;    /* about how many keys */
    bool locked;    /* the caller holds every shard; may be set anew before walk_after, and */
    int64_t now_ms; /* this one, too */
    /* Appends what the caller wants of a value seen below to data; NULL: only names are wanted. */
    void (*pack)(struct buf *data, struct source *s, const struct walked *found);
    /* results */
    uint64_t next;  /* position behind the interval, 0: there is no more */
    struct walk_key *keys;
    size_t count;
    struct buf names, data;
    /* private */
    size_t cap, before; /* before: keys seen by walk_before */
    void *watches[TIER_MAX_SOURCES];
};

/* Whether some tier below can be walked; else l1_scan says it all. */
bool walk_has_below(const struct tier *t);
/* Whether a physical database has no key below, as far as they are counted. Any thread. */
bool walk_is_empty_below(const struct tier *t, uint8_t physical);
void walk_before(struct walk *w);
void walk_below(struct walk *w);
/* Sorts the keys by position and keeps each once. False: so much moved meanwhile that the interval must be walked again, better
 * a shorter one. */
bool walk_after(struct walk *w);
static inline struct slice walk_name(const struct walk *w, const struct walk_key *k) {
    return slice_make(w->names.p + k->name, k->name_len);
}
/* What pack makes of one key's value, if some tier below has it: for a key that memory had a moment ago. May block. */
bool walk_below_one(struct walk *w, const struct walk_key *k, struct buf *data);
/* Keeps the room for the next interval. */
void walk_clear(struct walk *w);
void walk_free(struct walk *w);
