/* SPDX-License-Identifier: BSD-3-Clause */
/* policy_s3fifo: S3-FIFO (Yang et al., SOSP'23) without pointers, aware of sizes, with a small queue that finds its own share.
 *
 * New items enter the small queue, a ring that names them by bucket and handle. Leaving it, an item that was read enough moves to
 * main, any other goes, and leaves a fingerprint in the ghost; an item inserted again while its fingerprint is there starts in
 * main. Main has no list: a hand sweeps the buckets, takes what has no credit left and counts the others down.
 *
 * Credit: a read is worth READ, up to CREDIT_MAX (a write is no read, or miss-set-get would promote everything). The hand's toll
 * grows with the item's size in terms of the mean, from a quarter of a read for the smallest to three and more for
 * the largest, and the smallest may go round the small queue again: many small items are worth more than one large.
 *
 * Share: the ghost knows which queue let an item go. One that comes back soon would have been kept by a slightly larger small
 * queue, or main, as the case may be: each such return moves the border by one item (as ARC does, but counting only what a slightly
 * larger queue would have saved). */
#include "src/l1/policy_s3fifo.h"

#include "src/base/mem.h"
#include "src/l1/ghost.h"
#include "src/l1/policy.h"
#include "src/l1/ring.h"

enum {
    CREDIT = 15,     /* bits of the meta byte: credit; in the small queue its low two bits are laps left */
    IN_MAIN = S3FIFO_IN_MAIN,
    WAS_READ = 32,
    READ = 4,
    CREDIT_MAX = 3 * READ,
    LAPS = 3,
    RING_START = 64,
    HAND_STEPS = 1024, /* buckets looked at for one victim */
    RING_STEPS = 4096, /* entries looked at for one victim */
    RING_SPARE = 1024,
    RING_SCRUBS = 4,   /* entries per insert */
    QUIET = 4096,      /* inserts after which the small queue need not wait for evictions */
    SHARE_ONE = 1 << 20, /* all bytes; 2^44 of them times this is still 64 bits */
    SHARE_START = SHARE_ONE / 10,
    SHARE_MIN = SHARE_ONE / 20,
    SHARE_MAX = SHARE_ONE / 2,
    GHOST_SOON = GHOST_WAYS / 10 /* places of a line that stand for a tenth of the items */
};

struct s3fifo {
    struct ring ring; /* some entries are old: the item has gone, or moved */
    uint32_t scrub;   /* entries still to be looked at */
    uint32_t share; /* of the small queue */
    enum { BY_SHARE, SMALL_FIRST, MAIN_FIRST } turn; /* whence the next victim comes */
    uint64_t small_bytes, main_bytes;
    uint32_t small_items, main_items;
    uint32_t quiet; /* inserts since the last eviction, as far as QUIET */
    struct ghost ghost;
    /* what left last other than by eviction: an insert of the same key replaces it, and inherits */
    uint64_t left_hash;
    uint32_t left_handle;
    uint8_t left_meta;
    bool left;
};

static void *create(struct shard *s) {
    struct s3fifo *q = mem_zalloc(sizeof(*q));
    q->share = SHARE_START;
    ring_init(&q->ring, &s->policy_bytes);
    ghost_init(&q->ghost, &s->policy_bytes);
    /* items of another policy's time count as main's: the hand finds them */
    for (uint32_t i = 0; i < s->buckets; i++) {
        for (struct bucket *b = shard_bucket(s, i); b != NULL; b = bucket_next(s, b)) {
            for (int k = 0; k < bucket_slots(b); k++) {
                if (b->handle[k] != 0) {
                    b->meta[k] = (uint8_t)((b->meta[k] & ~META_POLICY) | IN_MAIN | WAS_READ);
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
    ring_fini(&q->ring);
    ghost_fini(&q->ghost);
    mem_free(q);
}

/* ---- sizes ---- */

static uint64_t mean_bytes(const struct shard *s) {
    return (s->slab.live_bytes + s->heap_bytes) / (s->items > 0 ? s->items : 1) + 1;
}

/* What the hand takes from an item: READ for one of about mean size. */
static unsigned toll(uint64_t mean, size_t bytes) {
    if (bytes <= mean / 2) {
        return bytes <= mean / 8 ? 1 : 2;
    }
    return READ * (1u + (bytes > 2 * mean) + (bytes > 8 * mean) + (bytes > 32 * mean));
}

static uint8_t laps(unsigned toll) {
    return toll < READ ? (uint8_t)(3 - toll) : 0;
}

/* ---- ring ---- */

/* The place of an entry's item, if it still is one of the small queue. */
static bool ring_find(const struct shard *s, struct ring_entry e, struct place *out) {
    return table_find_handle(s, (uint64_t)e.hash << s->shift, e.handle, out) && !(out->bucket->meta[out->slot] & IN_MAIN);
}

/* Turns the ring once, a few entries at a time, when most of them are old: of items deleted, or overwritten by larger ones. */
static void ring_scrub(const struct shard *s, struct s3fifo *q) {
    if (q->scrub == 0 && q->ring.count > 2 * q->small_items + RING_SPARE) {
        q->scrub = q->ring.count;
    }
    for (int i = 0; i < RING_SCRUBS && q->scrub > 0; i++) {
        struct place at;
        q->scrub--;
        if (q->ring.count == 0) {
            q->scrub = 0;
            return;
        }
        struct ring_entry e = ring_pop(&q->ring);
        if (ring_find(s, e, &at)) {
            ring_push(&q->ring, e);
        }
    }
}

static void enqueue(const struct shard *s, struct s3fifo *q, uint64_t hash, uint32_t handle) {
    ring_scrub(s, q);
    ring_push(&q->ring, (struct ring_entry){handle, (uint32_t)(hash >> s->shift)});
}

/* ---- ghost ---- */

static uint16_t fingerprint(uint64_t hash) {
    return (uint16_t)(hash >> 36); /* not bits that tell shards or lines apart */
}

static void share_move(const struct shard *s, struct s3fifo *q, bool to_main) {
    uint32_t step = SHARE_ONE / (s->items + 1) + 1;
    if (to_main) {
        q->share = q->share > SHARE_MIN + step ? q->share - step : SHARE_MIN;
    } else {
        q->share = q->share + step < SHARE_MAX ? q->share + step : SHARE_MAX;
    }
}

/* Whether the key was evicted lately; from now on it was not. */
static bool was_evicted(const struct shard *s, struct s3fifo *q, uint64_t hash) {
    struct ghost_find find;
    if (!ghost_take(&q->ghost, (uint32_t)(hash >> s->shift), fingerprint(hash), s->items, &find)) {
        return false;
    }
    if (find.before < GHOST_SOON) {
        share_move(s, q, find.by_main);
    }
    return true;
}

/* ---- queues ---- */

/* Sums drift when an item is re-sized in place, until the queue is empty. */
static void leave(uint64_t *sum, uint32_t *items, size_t bytes) {
    *items -= *items > 0;
    *sum = *items > 0 && bytes < *sum ? *sum - bytes : 0;
}

static void to_main(struct s3fifo *q, uint8_t *meta, size_t bytes, unsigned credit) {
    *meta = (uint8_t)((*meta & ~CREDIT) | IN_MAIN | credit);
    leave(&q->small_bytes, &q->small_items, bytes);
    q->main_bytes += bytes;
    q->main_items++;
}

/* The ring need not hold every item of a cache that fills, or that will never be full. Called by an insert: what that replaces is
 * still in its place, but no longer of any queue. */
static void oldest_to_main(struct shard *s, struct s3fifo *q, uint32_t replaced) {
    struct place p;
    struct ring_entry e = ring_pop(&q->ring);
    if (e.handle != replaced && ring_find(s, e, &p)) {
        uint8_t *meta = &p.bucket->meta[p.slot];
        unsigned credit = *meta & CREDIT; /* laps left become credit */
        to_main(q, meta, shard_item_bytes(s, e.handle), credit);
    }
}

/* ---- operations ---- */

static uint8_t insert(struct shard *s, uint64_t hash, uint32_t handle, size_t bytes) {
    struct s3fifo *q = s->policy_state;
    uint8_t bits = laps(toll(mean_bytes(s), bytes));
    uint32_t replaced = 0;
    if (q->left && q->left_hash == hash) {
        bits = q->left_meta & META_POLICY;
        replaced = q->left_handle;
    } else if (was_evicted(s, q, hash)) {
        bits = IN_MAIN | WAS_READ | READ; /* asked for twice at least */
    }
    q->quiet += q->quiet <= QUIET;
    q->left = false;
    if (bits & IN_MAIN) {
        q->main_bytes += bytes;
        q->main_items++;
    } else {
        q->small_bytes += bytes;
        q->small_items++;
        enqueue(s, q, hash, handle);
        if (q->quiet > QUIET && q->ring.count > RING_START + (uint64_t)s->items * q->share / (SHARE_ONE / 5 * 4)) {
            oldest_to_main(s, q, replaced);
        }
        if (bytes > (q->small_bytes + q->main_bytes) / 4) {
            ring_turn(&q->ring); /* an item that would push out much of the shard has to come twice */
        }
    }
    return bits;
}

static uint8_t hit(struct shard *s, uint8_t meta) {
    (void)s;
    unsigned credit = (meta & CREDIT) + READ;
    return (uint8_t)((meta & ~CREDIT) | WAS_READ | (credit < CREDIT_MAX ? credit : CREDIT_MAX));
}

/* A credit that is full would hide the next read. */
static bool lap(uint8_t *meta) {
    bool read = *meta & WAS_READ;
    unsigned credit = *meta & CREDIT;
    if (read) {
        *meta = (uint8_t)((*meta & ~(CREDIT | WAS_READ)) | (credit > CREDIT_MAX - READ ? CREDIT_MAX - READ : credit));
    }
    return read;
}

static void removed(struct shard *s, uint64_t hash, uint32_t handle, uint8_t meta, size_t bytes,
                    bool evicted) {
    struct s3fifo *q = s->policy_state;
    leave(meta & IN_MAIN ? &q->main_bytes : &q->small_bytes, meta & IN_MAIN ? &q->main_items : &q->small_items, bytes);
    if (evicted) {
        q->quiet = 0;
        ghost_grow(&q->ghost, s->items);
        ghost_add(&q->ghost, (uint32_t)(hash >> s->shift), fingerprint(hash), meta & IN_MAIN);
    } else {
        q->left_hash = hash;
        q->left_handle = handle;
        q->left_meta = meta;
        ghost_shrink(&q->ghost, s->items);
    }
    q->left = !evicted;
}

/* The ring's entry for the old handle is recognised as old; the new one goes to its end. */
static void moved(struct shard *s, uint32_t handle, uint8_t meta) {
    if (!(meta & IN_MAIN)) {
        enqueue(s, s->policy_state, item_hash(slab_at(&s->slab, handle)), handle);
    }
}

static bool small_victim(struct shard *s, struct s3fifo *q, struct place *out) {
    uint64_t mean = mean_bytes(s);
    for (int steps = 0; q->ring.count > 0; steps++) {
        if (steps == RING_STEPS) {
            return false;
        }
        struct ring_entry e = ring_pop(&q->ring);
        if (!ring_find(s, e, out)) {
            continue;
        }
        size_t bytes = shard_item_bytes(s, e.handle);
        uint8_t *meta = &out->bucket->meta[out->slot];
        unsigned due = toll(mean, bytes);
        due = due < READ ? READ : due < CREDIT_MAX ? due : CREDIT_MAX;
        if ((*meta & CREDIT) >= due) {
            to_main(q, meta, bytes, 0);
        } else if (*meta & LAPS) {
            (*meta)--;
            enqueue(s, q, (uint64_t)e.hash << s->shift, e.handle);
        } else {
            return true;
        }
    }
    return false;
}

/* Counts every item of main in the bucket down, and notes the one with the least left. */
static void collect_toll(struct shard *s, struct bucket *b, struct place *least, unsigned *least_credit) {
    uint64_t mean = mean_bytes(s);
    for (; b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            if (b->handle[i] == 0 || !(b->meta[i] & IN_MAIN)) {
                continue;
            }
            unsigned credit = b->meta[i] & CREDIT, due = toll(mean, shard_item_bytes(s, b->handle[i]));
            credit = credit > due ? credit - due : 0;
            b->meta[i] = (uint8_t)((b->meta[i] & ~CREDIT) | credit);
            if (credit < *least_credit) {
                *least_credit = credit;
                *least = (struct place){b, i};
            }
        }
    }
}

/* Whatever has no credit in the hand's bucket goes before the hand moves on: each item pays once per round. */
static bool main_victim(struct shard *s, struct place *out) {
    unsigned least_credit = CREDIT + 1;
    for (int steps = 0; steps < HAND_STEPS; steps++) {
        s->hand = s->hand < s->buckets ? s->hand : 0;
        struct bucket *head = shard_bucket(s, s->hand);
        for (struct bucket *b = head; b != NULL; b = bucket_next(s, b)) {
            for (int i = 0; i < bucket_slots(b); i++) {
                if (b->handle[i] != 0 && (b->meta[i] & (IN_MAIN | CREDIT)) == IN_MAIN) {
                    *out = (struct place){b, i};
                    return true;
                }
            }
        }
        collect_toll(s, head, out, &least_credit);
        s->hand++;
    }
    return least_credit <= CREDIT;
}

static bool victim(struct shard *s, struct place *out) {
    struct s3fifo *q = s->policy_state;
    uint64_t all = q->small_bytes + q->main_bytes;
    bool small_first = q->main_items == 0 || (q->turn == BY_SHARE ? q->small_bytes * SHARE_ONE >= all * q->share : q->turn == SMALL_FIRST);
    q->turn = BY_SHARE;
    if (small_first && small_victim(s, q, out)) {
        return true;
    }
    return (q->main_items > 0 && main_victim(s, out)) || small_victim(s, q, out);
}

/* Another round in its queue; the next victim comes from the other one, or a queue with nothing but such would be asked for ever. */
static void spare(struct shard *s, struct place at) {
    struct s3fifo *q = s->policy_state;
    uint8_t *meta = &at.bucket->meta[at.slot];
    uint32_t handle = at.bucket->handle[at.slot];
    if (*meta & IN_MAIN) {
        *meta = (uint8_t)((*meta & ~CREDIT) | CREDIT_MAX);
        q->turn = SMALL_FIRST;
    } else {
        enqueue(s, q, item_hash(slab_at(&s->slab, handle)), handle);
        q->turn = MAIN_FIRST;
    }
}

void s3fifo_look(const struct shard *s, struct s3fifo_look *out) {
    const struct s3fifo *q = s->policy_state;
    *out = (struct s3fifo_look){.small_bytes = q->small_bytes,
                                .main_bytes = q->main_bytes,
                                .main_items = q->main_items,
                                .small_share = (double)q->share / SHARE_ONE,
                                .memory_bytes = s->policy_bytes};
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
                                     .spare = spare,
                                     .lap = lap,
                                     .hit_mask = CREDIT,
                                     .hit_value = CREDIT_MAX,
                                     .read_mask = WAS_READ};
