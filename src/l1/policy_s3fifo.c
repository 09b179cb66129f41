/* SPDX-License-Identifier: BSD-3-Clause */
/* policy_s3fifo: S3-FIFO (Yang et al., SOSP'23) without pointers, aged by size.
 *
 * New items enter a small queue, a ring of handles holding about a tenth of the bytes. Leaving it, an item that was read moves to
 * main, any other goes and leaves a fingerprint in the ghost table; an item inserted again while its fingerprint is
 * there starts in main. Main has no list: a hand sweeps the buckets, lowering counters, large items' faster, and takes
 * what has none left. Two bits count reads (a write is no read, or miss-set-get would promote everything). */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/policy.h"

enum {
    FREQ = 3,
    IN_MAIN = 4,
    SMALL_SHARE = 10, /* percent of the bytes */
    HAND_STEPS = 4096
};

struct s3fifo {
    uint32_t *ring; /* power of two of handles; some are old: the item has gone, or moved */
    uint32_t ring_cap, head, tail;
    uint64_t small_bytes, main_bytes;
    uint32_t main_items;
    uint32_t *ghost; /* {16-bit fingerprint, 16-bit age} by hash */
    uint32_t ghost_cap;
    uint32_t age; /* evictions from small */
};

static void *create(struct shard *s) {
    struct s3fifo *q = mem_zalloc(sizeof(*q));
    q->ring_cap = 64;
    q->ring = mem_alloc(q->ring_cap * sizeof(*q->ring));
    q->ghost_cap = 64;
    q->ghost = mem_zalloc(q->ghost_cap * sizeof(*q->ghost));
    /* items of another policy's time count as main's: the hand finds them */
    for (uint32_t i = 0; i < s->buckets; i++) {
        for (struct bucket *b = shard_bucket(s, i); b != NULL; b = bucket_next(s, b)) {
            for (int k = 0; k < bucket_slots(b); k++) {
                if (b->handle[k] != 0) {
                    b->meta[k] = (uint8_t)((b->meta[k] & ~META_POLICY) | IN_MAIN);
                    q->main_bytes += shard_item_bytes(s, b->handle[k]);
                    q->main_items++;
                }
            }
        }
    }
    return q;
}

static void destroy(struct shard *s, void *state) {
    (void)s;
    struct s3fifo *q = state;
    mem_free(q->ring);
    mem_free(q->ghost);
    mem_free(q);
}

/* ---- ring ---- */

static uint32_t ring_count(const struct s3fifo *q) {
    return q->tail - q->head;
}

static void ring_push(struct shard *s, struct s3fifo *q, uint32_t handle) {
    if (ring_count(q) == q->ring_cap) {
        uint32_t live = 0;
        if (q->ring_cap > 1024 && q->ring_cap > 4 * s->items) {
            /* mostly old handles of items deleted from a small cache: drop them instead of growing */
            uint32_t n = ring_count(q);
            for (uint32_t i = 0; i < n; i++) {
                uint32_t h = q->ring[(q->head + i) % q->ring_cap];
                if (slab_is_live(&s->slab, h)) {
                    q->ring[(q->head + live++) % q->ring_cap] = h;
                }
            }
            q->tail = q->head + live;
        }
        if (ring_count(q) > q->ring_cap / 2) {
            uint32_t *ring = mem_alloc(2 * (size_t)q->ring_cap * sizeof(*ring));
            uint32_t n = ring_count(q);
            for (uint32_t i = 0; i < n; i++) {
                ring[i] = q->ring[(q->head + i) % q->ring_cap];
            }
            mem_free(q->ring);
            q->ring = ring;
            q->head = 0;
            q->tail = n;
            q->ring_cap *= 2;
        }
    }
    q->ring[q->tail++ % q->ring_cap] = handle;
}

/* ---- ghost ---- */

static uint32_t *ghost_slot(const struct s3fifo *q, uint64_t hash) {
    return &q->ghost[(hash >> 8) % q->ghost_cap];
}

static uint16_t fingerprint(uint64_t hash) {
    return (uint16_t)((hash >> 40) | 1);
}

static bool ghost_has(const struct s3fifo *q, uint64_t hash) {
    const uint32_t *pair = ghost_slot(q, hash & ~(uint64_t)0x100);
    for (int i = 0; i < 2; i++) {
        bool young = (uint16_t)(q->age / (q->ghost_cap / 16) - (pair[i] & 0xFFFF)) <= 16;
        if (pair[i] >> 16 == fingerprint(hash) && young) {
            return true;
        }
    }
    return false;
}

static void ghost_add(struct shard *s, struct s3fifo *q, uint64_t hash) {
    if (q->ghost_cap < s->items) { /* as many as the items; the old ones are not worth moving */
        mem_free(q->ghost);
        q->ghost_cap *= 2;
        q->ghost = mem_zalloc(q->ghost_cap * sizeof(*q->ghost));
    }
    q->age++;
    uint16_t now = (uint16_t)(q->age / (q->ghost_cap / 16));
    uint32_t *pair = ghost_slot(q, hash & ~(uint64_t)0x100);
    int older = (uint16_t)(now - (pair[0] & 0xFFFF)) >= (uint16_t)(now - (pair[1] & 0xFFFF)) ? 0 : 1;
    pair[older] = (uint32_t)fingerprint(hash) << 16 | now;
}

/* ---- operations ---- */

static uint8_t insert(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes) {
    struct s3fifo *q = s->policy_state;
    if (ghost_has(q, hash)) {
        q->main_bytes += bytes;
        q->main_items++;
        return IN_MAIN;
    }
    q->small_bytes += bytes;
    ring_push(s, q, handle);
    return 0;
}

static uint8_t hit(struct shard *s, uint8_t meta) {
    (void)s;
    return (uint8_t)(meta + 1); /* called only below FREQ */
}

static void removed(struct shard *s, uint64_t hash, uint32_t handle, uint8_t meta, size_t bytes,
                    bool evicted) {
    struct s3fifo *q = s->policy_state;
    (void)handle;
    uint64_t *sum = meta & IN_MAIN ? &q->main_bytes : &q->small_bytes;
    *sum -= bytes < *sum ? bytes : *sum;
    if (meta & IN_MAIN) {
        q->main_items -= q->main_items > 0;
    } else if (evicted) {
        ghost_add(s, q, hash);
    }
}

/* The ring's entry for the old handle is recognised as old; the new one goes to its end. */
static void moved(struct shard *s, uint32_t handle, uint8_t meta) {
    if (!(meta & IN_MAIN)) {
        ring_push(s, s->policy_state, handle);
    }
}

/* How much more a large item must be read than one of average size. */
static unsigned size_term(const struct shard *s, size_t bytes) {
    uint64_t mean = (s->slab.live_bytes + s->heap_bytes) / (s->items > 0 ? s->items : 1) + 1;
    return (bytes > 2 * mean) + (bytes > 8 * mean) + (bytes > 32 * mean);
}

static bool small_victim(struct shard *s, struct s3fifo *q, struct place *out) {
    while (ring_count(q) > 0) {
        uint32_t handle = q->ring[q->head++ % q->ring_cap];
        if (!slab_is_live(&s->slab, handle)) {
            continue;
        }
        struct place p;
        uint64_t hash = item_hash(slab_at(&s->slab, handle));
        if (!table_find_handle(s, hash, handle, &p) || (p.bucket->meta[p.slot] & IN_MAIN)) {
            continue;
        }
        size_t bytes = shard_item_bytes(s, handle);
        uint8_t meta = p.bucket->meta[p.slot];
        if ((meta & FREQ) < 1 + size_term(s, bytes)) {
            *out = p;
            return true;
        }
        p.bucket->meta[p.slot] = (uint8_t)((meta & ~META_POLICY) | IN_MAIN);
        q->small_bytes -= bytes < q->small_bytes ? bytes : q->small_bytes;
        q->main_bytes += bytes;
        q->main_items++;
    }
    q->small_bytes = 0; /* nothing in it: drift of re-sized items ends here */
    return false;
}

static bool main_victim(struct shard *s, struct place *out) {
    for (int steps = 0; steps < HAND_STEPS; steps++) {
        s->hand = s->hand < s->buckets ? s->hand : 0;
        for (struct bucket *b = shard_bucket(s, s->hand); b != NULL; b = bucket_next(s, b)) {
            for (int i = 0; i < bucket_slots(b); i++) {
                uint8_t meta = b->meta[i];
                if (b->handle[i] == 0 || !(meta & IN_MAIN)) {
                    continue;
                }
                unsigned freq = meta & FREQ;
                if (freq == 0) {
                    *out = (struct place){b, i};
                    return true; /* the hand stays: the next call goes on in this bucket */
                }
                unsigned less = 1 + size_term(s, shard_item_bytes(s, b->handle[i]));
                b->meta[i] = (uint8_t)((meta & ~FREQ) | (freq > less ? freq - less : 0));
            }
        }
        s->hand++;
    }
    return false;
}

static bool victim(struct shard *s, struct place *out) {
    struct s3fifo *q = s->policy_state;
    uint64_t all = q->small_bytes + q->main_bytes;
    bool small_first = q->main_items == 0 || q->small_bytes * 100 >= all * SMALL_SHARE;
    if (small_first && small_victim(s, q, out)) {
        return true;
    }
    return (q->main_items > 0 && main_victim(s, out)) || small_victim(s, q, out);
}

extern const struct policy policy_s3fifo;
const struct policy policy_s3fifo = {.name = "allkeys-s3fifo",
                                     .evicts = true,
                                     .create = create,
                                     .destroy = destroy,
                                     .insert = insert,
                                     .hit = hit,
                                     .moved = moved,
                                     .remove = removed,
                                     .victim = victim,
                                     .hit_mask = FREQ,
                                     .read_mask = FREQ | IN_MAIN,
                                     .hit_value = FREQ};
