/* SPDX-License-Identifier: BSD-3-Clause */
/* shard: one part of the tier: lock, table, blocks, expiry, policy, and the keys in flight or watched. */
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "src/base/list.h"
#include "src/base/lock.h"
#include "src/l1/flight.h"
#include "src/l1/item.h"
#include "src/l1/l1.h"
#include "src/l1/slab.h"
#include "src/l1/watch.h"

enum {
    BUCKET_SLOTS = 10,
    BUCKET_LINK = 1,          /* slot 9 holds the handle of an overflow bucket */
    SEGMENT_BUCKETS = CHUNK_BYTES / 64,
    META_POLICY = 0x3F,       /* the policy's bits */
    META_TTL = 0x40,
    META_SAME = 0x80,         /* a tier below has this very value */
    WHEEL_SLOTS = 256,
    TICK_SHIFT = 6,           /* a tick is 64 ms */
    LAZY_FREE_ELEMENTS = 64   /* larger aggregates are freed in slices */
};

/* One cache line: ten items. */
struct bucket {
    uint8_t seq;    /* counts changes: for readers without the lock, later */
    uint8_t flags;
    uint16_t tick;  /* when the earliest deadline is due, on the wheel; 0: not on it */
    uint32_t handle[BUCKET_SLOTS];
    uint8_t tag[BUCKET_SLOTS];
    uint8_t meta[BUCKET_SLOTS];
};

/* Bit i: slot i has the tag. Inlined into whoever is not to be watched for races, too. */
static inline __attribute__((always_inline)) unsigned bucket_match(const struct bucket *b, uint8_t tag) {
#if defined(__SSE2__)
    /* 16 bytes from the tags on: ten tags and six metas; the bucket holds them all */
    __m128i have = _mm_loadu_si128((const __m128i *)(const void *)b->tag);
    unsigned bits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(have, _mm_set1_epi8((char)tag)));
    return bits & ((1u << BUCKET_SLOTS) - 1);
#else
    unsigned bits = 0;
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        bits |= (unsigned)(b->tag[i] == tag) << i;
    }
    return bits;
#endif
}

/* Where an item is. */
struct place {
    struct bucket *bucket;
    int slot;
};

struct policy;

struct shard {
    /* A line of its own: what a call writes, or looks at once it has the lock. Whoever looks without it does not miss because of them. */
    struct lock lock;
    uint32_t stamp;           /* item_stamp of the call that has the lock, as of its last look-up */
    uint8_t hit_mask, hit_value; /* a hit writes nothing when (meta & mask) == value */
    uint8_t epoch;
    uint32_t epoch_touches;
    uint32_t items;
    const struct policy *policy;
    void *policy_state;
    uint64_t policy_bytes;    /* what policy_state holds that grows with the items */
    uint64_t heap_bytes;

    /* table: linear hashing over segments; read without the lock, seldom written */
    struct l1 *l1 __attribute__((aligned(64)));
    unsigned id;
    unsigned shift;           /* low bits of a hash that chose the shard: the bucket's begin behind them */
    struct bucket **segments; /* replaced when it grows; the old one is kept in retired_segments */
    uint32_t segment_cap;
    uint32_t buckets;         /* in use; 2^level <= buckets < 2^(level+1) */
    uint32_t level;
    uint32_t overflow_buckets;
    struct bucket ***retired_segments;
    uint32_t retired_count;

    struct slab slab;

    /* expiry: two levels of slots, each a chain of table blocks holding bucket numbers */
    uint64_t wheel_tick;      /* everything before it has been done */
    uint32_t wheel[2][WHEEL_SLOTS];
    uint32_t ttl_items;

    /* eviction */
    uint32_t hand;            /* bucket a sweeping policy looks at next */

    struct flight_table flights;
    struct watch_table watches;
    unsigned char newborn[ITEM_EXTRA_MAX]; /* what is noted of an item being made */
    struct list pending;      /* values being freed */
    struct quota *quota;      /* NULL while no item here has had a group */
    uint32_t sweep_bucket;    /* of flushed databases */
    uint64_t sweep_generation;

    /* read without the lock */
    _Atomic uint32_t db_keys[L1_PHYSICAL_DBS], db_expires[L1_PHYSICAL_DBS], db_same[L1_PHYSICAL_DBS];
    _Atomic uint64_t expired, evicted, swept, spared, inserted, splits, merges, moved, contended;
    int64_t published_bytes;  /* this shard's part of l1->used_bytes */
    _Atomic uint32_t published_items; /* as of then */
} __attribute__((aligned(64)));

static inline struct bucket *shard_bucket(const struct shard *s, uint32_t i) {
    return &s->segments[i / SEGMENT_BUCKETS][i % SEGMENT_BUCKETS];
}
static inline uint32_t shard_index(const struct shard *s, uint64_t hash) {
    uint32_t i = (uint32_t)(hash >> s->shift) & (((uint32_t)2 << s->level) - 1);
    return i < s->buckets ? i : i & (((uint32_t)1 << s->level) - 1);
}
static inline uint8_t hash_tag(uint64_t hash) {
    return (uint8_t)(hash >> 40);
}

/* table.c */
bool table_init(struct shard *s);
void table_fini(struct shard *s);
/* Finds the item of the key. */
bool table_find(const struct shard *s, const struct key *key, struct place *out);
/* The place that holds this very handle, for an item whose hash is known. */
bool table_find_handle(const struct shard *s, uint64_t hash, uint32_t handle, struct place *out);
/* A free place for an item of that hash, chaining an overflow bucket if need be. False without memory. */
bool table_make_place(struct shard *s, uint64_t hash, struct place *out);
void table_put(struct place at, uint64_t hash, uint32_t handle, uint8_t meta);
/* Empties the place (and gives back an overflow bucket it leaves empty). */
void table_clear(struct shard *s, uint64_t hash, struct place at);
/* Splits one bucket when the table is fuller than it should be. */
void table_grow(struct shard *s);
/* Merges up to so many buckets when the table is much emptier than it should be; true when more are to be merged. No place found before
 * is one any more. */
bool table_shrink(struct shard *s, unsigned budget);
uint64_t item_hash(const unsigned char *it);
/* The next bucket of a chain, or NULL. */
static inline struct bucket *bucket_next(const struct shard *s, const struct bucket *b) {
    return b->flags & BUCKET_LINK ? slab_at(&s->slab, b->handle[BUCKET_SLOTS - 1]) : NULL;
}
static inline int bucket_slots(const struct bucket *b) {
    return b->flags & BUCKET_LINK ? BUCKET_SLOTS - 1 : BUCKET_SLOTS;
}

/* wheel.c */
void wheel_init(struct shard *s, int64_t now_ms);
/* When somebody must look at the item: at its deadline, or at the end of its grace; INT64_MAX: never. */
int64_t wheel_next(const struct shard *s, const unsigned char *it);
/* The bucket holds an item with this deadline. */
void wheel_schedule(struct shard *s, uint32_t bucket, int64_t deadline_ms);
/* Removes what is due; at most about budget buckets. True when more is due. */
bool wheel_run(struct shard *s, int64_t now_ms, unsigned budget);

/* A blob of one reference with room for n bytes, behind its head. NULL without memory. */
struct blob *blob_create(size_t n);

/* l1.c: what the others need of it */
enum l1_below shard_below(const struct shard *s, struct place at);
void shard_remove(struct shard *s, const struct key *key, struct place at);
size_t shard_item_bytes(const struct shard *s, uint32_t handle);
/* Whether an item is one that a look-up would find; for those who meet it otherwise. */
bool shard_is_live(const struct shard *s, const struct key *key, const unsigned char *it, int64_t now_ms);
/* Whether it is of no use to anyone; one in its grace rests from now on. */
bool shard_is_gone(struct shard *s, const struct key *key, unsigned char *it, int64_t now_ms);
/* The lifetime of an item has ended: counts that, once for each. */
void shard_lapse(struct shard *s, const struct key *key);
/* An item past its deadline, within its grace: it is no key any more, for those who count. */
void shard_rest(struct shard *s, const struct key *key, unsigned char *it);
/* While purging: when the grace of one that rests is over; 0: it has none. */
int64_t shard_rest_end(const struct shard *s, const struct key *key, const unsigned char *it);
