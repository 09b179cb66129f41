/* SPDX-License-Identifier: BSD-3-Clause */
/* lane: changes on their way to the store, in order, readable until they are there. One lane has a part of the keys, so
 * that one key's changes keep their order; the writer takes from all lanes in turn.
 *
 * All functions need the lane's lock, taken by the caller with lane_lock. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "persist/state.h"
#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/base/lock.h"

struct sink_ack;

enum change { CHANGE_PUT, CHANGE_DELETE };

/* One change; owned by its lane. */
struct op {
    struct op *next;    /* in order of arrival */
    struct op *chain;   /* in the table */
    uint64_t position;  /* hash_position of its hash */
    uint64_t note;      /* its place in the journal */
    enum change change;
    bool replaces;      /* the store may have the key, */
    bool behind, put;   /* or what it will have is known: a change of the key ahead in the queue, which puts or not */
    bool had;           /* the key is thought to be there when this change's turn comes */
    bool noted;         /* note means something: a kill before the write deletes the key */
    bool taken;         /* the writer has it: it may be written already */
    bool found;         /* reachable by lane_find: the newest of its key */
    uint8_t physical;
    size_t key_len;
    struct buf record;  /* CHANGE_PUT */
    struct sink_ack *ack;
    char key[];         /* the record's key */
};

enum { LANE_BUCKETS = 1024 };

_Static_assert(STATE_LANES == 8, "lane_of takes three bits");
/* A key's lane by the first bits of its position, its bucket in the lane's table by the next: both in the order of walks. */
static inline unsigned lane_of(uint64_t position) {
    return (unsigned)(position >> 61);
}
static inline unsigned lane_bucket(uint64_t position) {
    return (unsigned)(position >> 51 & (LANE_BUCKETS - 1));
}
/* The last position of a bucket. */
static inline uint64_t lane_bucket_last(unsigned lane, unsigned bucket) {
    return ((uint64_t)lane << 61 | (uint64_t)bucket << 51) + (((uint64_t)1 << 51) - 1);
}

struct lane {
    struct lock lock;
    unsigned id;
    struct op *first, *untaken, *last;
    size_t ops;
    _Atomic size_t bytes; /* read without the lock, too */
    struct op *table[LANE_BUCKETS];
};

/* What is to be queued. */
struct change_request {
    enum change change;
    const struct key *key;
    uint32_t generation;
    struct buf *record;   /* CHANGE_PUT: taken over */
    bool replaces;        /* the store may have an older version, */
    bool had;             /* or has one, in the queue or, as far as a filter knows, itself */
    bool note;            /* which must not be seen after a kill */
    struct sink_ack *ack; /* called when the change is in the store; NULL */
};

/* By how many keys there will be more when it is done, as far as is known. */
static inline int op_growth(const struct op *op) {
    return (op->change == CHANGE_PUT) - op->had;
}

void lane_init(struct lane *l, unsigned id);
/* Drops what is queued, calling no one. */
void lane_fini(struct lane *l);
static inline void lane_lock(struct lane *l) {
    lock_acquire(&l->lock);
}
static inline void lane_unlock(struct lane *l) {
    lock_release(&l->lock);
}

/* The newest queued change of the key, or NULL. */
struct op *lane_find(const struct lane *l, const struct key *key, uint32_t generation);
/* Queues a change, or turns a queued one of the same key that nobody has taken yet into it; returns it. growth: of what is queued,
 * in keys. */
struct op *lane_add(struct lane *l, struct state *state, const struct change_request *r, int *growth);
/* The next ops nobody has taken, at most max and about max_bytes, in order; they stay readable. */
size_t lane_take(struct lane *l, struct op **out, size_t max, size_t max_bytes);
/* The first n taken ops are in the store (or given up): forgets them and their notes. Their acks go to acks (room for
 * n), to be called without the lock; returns how many. */
size_t lane_done(struct lane *l, struct state *state, size_t n, struct sink_ack **acks);
