/* SPDX-License-Identifier: BSD-3-Clause */
/* flight: the keys of a shard being fetched from a slower tier, so that each is fetched once (singleflight).
 *
 * A flight is registered in the same critical section in which the lookup missed. It outlives the call that
 * began it. A write to the key while it is in flight marks it: its result may answer the waiters that came
 * before the write, but is not stored. All functions need the shard locked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/base/hash.h"
#include "src/base/list.h"

/* A call waiting for a flight; embedded in it. wake runs with no lock held, on the thread that ended the
 * flight: it posts to the call's own loop. */
struct waiter {
    struct list node;
    bool landed; /* the flight has ended: wake comes */
    void (*wake)(struct waiter *w);
};

struct flight {
    struct flight *next; /* in the shard's chain */
    struct list waiters;
    uint64_t hash;
    uint32_t waiting;
    uint8_t db;
    bool overtaken; /* the key was written meanwhile: do not store the result */
    uint32_t name_len;
    char name[];
};

enum { FLIGHT_BUCKETS = 64 };

struct flight_table {
    uint32_t count;
    struct flight *buckets[FLIGHT_BUCKETS];
};

/* The flight of the key, or NULL. */
struct flight *flight_find(const struct flight_table *t, const struct key *key);
/* Registers a new flight; the caller leads it and must end it. */
struct flight *flight_begin(struct flight_table *t, const struct key *key);
/* Unregisters f and moves its waiters to woken (initialised by the caller), to be woken after unlock. Frees f. */
void flight_end(struct flight_table *t, struct flight *f, struct list *woken);
/* A write to the key: marks its flight overtaken. Inline no-op when nothing flies. */
void flight_overtake_slow(struct flight_table *t, const struct key *key);
/* FLUSH*, SWAPDB: every flight is overtaken. */
void flight_overtake_all(struct flight_table *t);

static inline void flight_overtake(struct flight_table *t, const struct key *key) {
    if (__builtin_expect(t->count != 0, 0)) {
        flight_overtake_slow(t, key);
    }
}
