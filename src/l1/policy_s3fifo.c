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
#include "src/l1/policy.h"

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
    GHOST_WAYS = 32,    /* fingerprints of a line, newest first */
    GHOST_PERCENT = 110, /* fingerprints per item */
    GHOST_SOON = 3,      /* places of a line that stand for a tenth of the items */
    GHOST_GROWS = 8,     /* lines per eviction at most */
    BY_MAIN = 0x8000     /* main let it go */
};

/* The bits of the hash behind the shard's find the bucket; a block that another key has by now is not there. */
struct ring_entry {
    uint32_t handle, hash;
};

struct s3fifo {
    struct ring_entry *ring; /* a power of two of them; some are old: the item has gone, or moved */
    uint32_t ring_cap, head, tail, scrub; /* scrub: entries still to be looked at */
    uint32_t share; /* of the small queue */
    enum { BY_SHARE, SMALL_FIRST, MAIN_FIRST } turn; /* whence the next victim comes */
    uint64_t small_bytes, main_bytes;
    uint32_t small_items, main_items;
    uint32_t quiet; /* inserts since the last eviction, as far as QUIET */
    uint32_t lines, lines_cap, level; /* linear hashing, as the table */
    uint16_t (*ghost)[GHOST_WAYS];
    /* what left last other than by eviction: an insert of the same key replaces it, and inherits */
    uint64_t left_hash;
    uint32_t left_handle;
    uint8_t left_meta;
    bool left;
};

static void *create(struct shard *s) {
    struct s3fifo *q = mem_zalloc(sizeof(*q));
    q->share = SHARE_START;
    q->ring_cap = RING_START;
    q->ring = mem_alloc(q->ring_cap * sizeof(*q->ring));
    q->lines = q->lines_cap = 1;
    q->ghost = mem_zalloc(sizeof(*q->ghost));
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
    mem_free(q->ring);
    mem_free(q->ghost);
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

static uint32_t ring_count(const struct s3fifo *q) {
    return q->tail - q->head;
}

/* The place of an entry's item, if it still is one of the small queue. */
static bool ring_find(const struct shard *s, struct ring_entry e, struct place *out) {
    return table_find_handle(s, (uint64_t)e.hash << s->shift, e.handle, out) && !(out->bucket->meta[out->slot] & IN_MAIN);
}

static void ring_grow(struct s3fifo *q) {
    uint32_t n = ring_count(q);
    struct ring_entry *ring = mem_alloc(2 * (size_t)q->ring_cap * sizeof(*ring));
    for (uint32_t i = 0; i < n; i++) {
        ring[i] = q->ring[(q->head + i) % q->ring_cap];
    }
    mem_free(q->ring);
    q->ring = ring;
    q->head = 0;
    q->tail = n;
    q->ring_cap *= 2;
}

/* Turns the ring once, a few entries at a time, when most of them are old: of items deleted, or overwritten by larger ones. */
static void ring_scrub(const struct shard *s, struct s3fifo *q) {
    if (q->scrub == 0 && ring_count(q) > 2 * q->small_items + RING_SPARE) {
        q->scrub = ring_count(q);
    }
    for (int i = 0; i < RING_SCRUBS && q->scrub > 0; i++) {
        struct place at;
        q->scrub--;
        if (ring_count(q) == 0) {
            q->scrub = 0;
            return;
        }
        struct ring_entry e = q->ring[q->head++ % q->ring_cap];
        if (ring_find(s, e, &at)) {
            q->ring[q->tail++ % q->ring_cap] = e;
        }
    }
}

static void ring_push(const struct shard *s, struct s3fifo *q, uint64_t hash, uint32_t handle) {
    ring_scrub(s, q);
    if (ring_count(q) == q->ring_cap) {
        ring_grow(q);
    }
    q->ring[q->tail++ % q->ring_cap] = (struct ring_entry){handle, (uint32_t)(hash >> s->shift)};
}

/* What came last leaves first: an item that would push out much of the shard has to come twice. */
static void ring_turn(struct s3fifo *q) {
    struct ring_entry e = q->ring[--q->tail % q->ring_cap];
    q->ring[--q->head % q->ring_cap] = e;
}

/* ---- ghost ---- */

static uint16_t fingerprint(uint64_t hash) {
    uint16_t print = hash >> 36 & (BY_MAIN - 1); /* not bits that tell shards or lines apart */
    return print != 0 ? print : 1;
}

static uint16_t *ghost_line(const struct shard *s, const struct s3fifo *q, uint64_t hash) {
    uint32_t h = (uint32_t)(hash >> s->shift), i = h & (((uint32_t)2 << q->level) - 1);
    return q->ghost[i < q->lines ? i : i & (((uint32_t)1 << q->level) - 1)];
}

static uint64_t ghost_wanted(const struct shard *s) {
    return (uint64_t)s->items * GHOST_PERCENT / 100;
}

/* A line is split by copying it: in the wrong half a fingerprint is never asked for, and soon pushed out. */
static void ghost_grow(const struct shard *s, struct s3fifo *q) {
    uint64_t lines = (ghost_wanted(s) + GHOST_WAYS - 1) / GHOST_WAYS;
    for (int i = 0; i < GHOST_GROWS && q->lines < lines; i++) {
        if (q->lines == q->lines_cap) {
            q->lines_cap += q->lines_cap / 8 + 1;
            q->ghost = mem_realloc(q->ghost, q->lines_cap * sizeof(*q->ghost));
        }
        memcpy(q->ghost[q->lines], q->ghost[q->lines - ((uint32_t)1 << q->level)], sizeof(*q->ghost));
        q->lines++;
        if (q->lines == (uint32_t)2 << q->level) {
            q->level++;
        }
    }
}

static void ghost_add(const struct shard *s, struct s3fifo *q, uint64_t hash, unsigned by) {
    ghost_grow(s, q);
    uint16_t *line = ghost_line(s, q, hash);
    memmove(line + 1, line, (GHOST_WAYS - 1) * sizeof(*line));
    line[0] = (uint16_t)(fingerprint(hash) | by);
}

static void share_move(const struct shard *s, struct s3fifo *q, bool to_main) {
    uint32_t step = SHARE_ONE / (s->items + 1) + 1;
    if (to_main) {
        q->share = q->share > SHARE_MIN + step ? q->share - step : SHARE_MIN;
    } else {
        q->share = q->share + step < SHARE_MAX ? q->share + step : SHARE_MAX;
    }
}

/* Whether the key is in the ghost; it no longer is. */
static bool ghost_take(const struct shard *s, struct s3fifo *q, uint64_t hash) {
    uint16_t *line = ghost_line(s, q, hash), print = fingerprint(hash);
    uint64_t wanted = ghost_wanted(s) / q->lines + 1; /* fewer when the cache has shrunk */
    unsigned ways = wanted < GHOST_WAYS ? (unsigned)wanted : GHOST_WAYS, before[2] = {0, 0};
    for (unsigned i = 0; i < ways && line[i] != 0; i++) {
        bool by_main = line[i] & BY_MAIN;
        if ((line[i] & ~BY_MAIN) == print) {
            if (before[by_main] < GHOST_SOON) {
                share_move(s, q, by_main);
            }
            memmove(line + i, line + i + 1, (GHOST_WAYS - 1 - i) * sizeof(*line));
            line[GHOST_WAYS - 1] = 0;
            return true;
        }
        before[by_main]++;
    }
    return false;
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
    struct ring_entry e = q->ring[q->head++ % q->ring_cap];
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
    } else if (ghost_take(s, q, hash)) {
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
        ring_push(s, q, hash, handle);
        if (q->quiet > QUIET && ring_count(q) > RING_START + (uint64_t)s->items * q->share / (SHARE_ONE / 5 * 4)) {
            oldest_to_main(s, q, replaced);
        }
        if (bytes > (q->small_bytes + q->main_bytes) / 4) {
            ring_turn(q);
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
        ghost_add(s, q, hash, meta & IN_MAIN ? BY_MAIN : 0);
    } else {
        q->left_hash = hash;
        q->left_handle = handle;
        q->left_meta = meta;
    }
    q->left = !evicted;
}

/* The ring's entry for the old handle is recognised as old; the new one goes to its end. */
static void moved(struct shard *s, uint32_t handle, uint8_t meta) {
    if (!(meta & IN_MAIN)) {
        ring_push(s, s->policy_state, item_hash(slab_at(&s->slab, handle)), handle);
    }
}

static bool small_victim(struct shard *s, struct s3fifo *q, struct place *out) {
    uint64_t mean = mean_bytes(s);
    for (int steps = 0; ring_count(q) > 0; steps++) {
        if (steps == RING_STEPS) {
            return false;
        }
        struct ring_entry e = q->ring[q->head++ % q->ring_cap];
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
            ring_push(s, q, (uint64_t)e.hash << s->shift, e.handle);
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
        ring_push(s, q, item_hash(slab_at(&s->slab, handle)), handle);
        q->turn = MAIN_FIRST;
    }
}

void s3fifo_look(const struct shard *s, struct s3fifo_look *out) {
    const struct s3fifo *q = s->policy_state;
    *out = (struct s3fifo_look){.small_bytes = q->small_bytes,
                                .main_bytes = q->main_bytes,
                                .main_items = q->main_items,
                                .small_share = (double)q->share / SHARE_ONE,
                                .memory_bytes = q->ring_cap * sizeof(*q->ring) + q->lines_cap * sizeof(*q->ghost)};
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
