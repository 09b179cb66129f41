/* SPDX-License-Identifier: BSD-3-Clause */
/* table: linear hashing (Litwin 1980) with 64-byte buckets: grows and shrinks by one bucket at a time, so that nobody pauses for it. */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/shard.h"

enum {
    FILL = 8,    /* items per bucket the table grows to keep: about 8.5 bytes an item with overflow */
    SPARSE = 4   /* with fewer it shrinks */
};

uint64_t item_hash(const unsigned char *it) {
    return hash_key(item_key(it), it[1]);
}

bool table_init(struct shard *s) {
    s->segment_cap = 4;
    s->segments = mem_zalloc(s->segment_cap * sizeof(*s->segments));
    s->segments[0] = chunk_take(s->slab.pool);
    if (s->segments[0] == NULL) {
        return false;
    }
    s->buckets = 1;
    s->level = 0;
    memset(s->segments[0], 0, sizeof(struct bucket));
    return true;
}

void table_fini(struct shard *s) {
    for (uint32_t i = 0; i < s->segment_cap; i++) {
        if (s->segments[i] != NULL) {
            chunk_give(s->slab.pool, s->segments[i]);
        }
    }
    for (uint32_t i = 0; i < s->retired_count; i++) {
        mem_free(s->retired_segments[i]);
    }
    mem_free(s->retired_segments);
    mem_free(s->segments);
}

bool table_find(const struct shard *s, const struct key *key, struct place *out) {
    struct bucket *b = shard_bucket(s, shard_index(s, key->hash));
    uint8_t tag = hash_tag(key->hash);
    do {
        unsigned bits = bucket_match(b, tag);
        if (b->flags & BUCKET_LINK) {
            bits &= (1u << (BUCKET_SLOTS - 1)) - 1;
        }
        for (; bits != 0; bits &= bits - 1) {
            int i = __builtin_ctz(bits);
            if (b->handle[i] == 0) {
                continue;
            }
            const unsigned char *it = slab_at(&s->slab, b->handle[i]);
            if (likely(it[1] == key->db && slice_eq(item_key(it), key->name))) {
                *out = (struct place){b, i};
                return true;
            }
        }
        b = bucket_next(s, b);
    } while (unlikely(b != NULL));
    return false;
}

bool table_find_handle(const struct shard *s, uint64_t hash, uint32_t handle, struct place *out) {
    struct bucket *b = shard_bucket(s, shard_index(s, hash));
    for (; b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            if (b->handle[i] == handle) {
                *out = (struct place){b, i};
                return true;
            }
        }
    }
    return false;
}

void table_put(struct place at, uint64_t hash, uint32_t handle, uint8_t meta) {
    at.bucket->handle[at.slot] = handle;
    at.bucket->tag[at.slot] = hash_tag(hash);
    at.bucket->meta[at.slot] = meta;
    at.bucket->seq++;
}

/* A free place in the chain that begins at b. */
static bool place_in_chain(struct shard *s, struct bucket *b, struct place *out) {
    for (;;) {
        for (int i = 0; i < bucket_slots(b); i++) {
            if (b->handle[i] == 0) {
                *out = (struct place){b, i};
                return true;
            }
        }
        struct bucket *next = bucket_next(s, b);
        if (next == NULL) {
            break;
        }
        b = next;
    }
    uint32_t h = slab_alloc(&s->slab, SLAB_TABLE_CLASS);
    if (h == 0) {
        return false;
    }
    struct bucket *more = slab_at(&s->slab, h);
    memset(more, 0, sizeof(*more));
    const int last = BUCKET_SLOTS - 1;
    more->handle[0] = b->handle[last]; /* the last slot becomes the link */
    more->tag[0] = b->tag[last];
    more->meta[0] = b->meta[last];
    b->handle[last] = h;
    b->tag[last] = 0;
    b->meta[last] = 0;
    b->flags |= BUCKET_LINK;
    b->seq++;
    s->overflow_buckets++;
    *out = (struct place){more, 1};
    return true;
}

bool table_make_place(struct shard *s, uint64_t hash, struct place *out) {
    return place_in_chain(s, shard_bucket(s, shard_index(s, hash)), out);
}

static bool bucket_empty(const struct bucket *b) {
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        if (b->handle[i] != 0) {
            return false;
        }
    }
    return true;
}

void table_clear(struct shard *s, uint64_t hash, struct place at) {
    struct bucket *b = at.bucket;
    b->handle[at.slot] = 0;
    b->tag[at.slot] = 0;
    b->meta[at.slot] = 0;
    b->seq++;
    struct bucket *before = shard_bucket(s, shard_index(s, hash));
    if (likely(before == b) || !bucket_empty(b)) {
        return;
    }
    while (bucket_next(s, before) != b) {
        before = bucket_next(s, before);
    }
    slab_free(&s->slab, before->handle[BUCKET_SLOTS - 1]);
    before->handle[BUCKET_SLOTS - 1] = 0;
    before->flags &= (uint8_t)~BUCKET_LINK;
    s->overflow_buckets--;
}

/* ---- growth ---- */

static bool add_segment(struct shard *s, uint32_t segment) {
    if (segment >= s->segment_cap) {
        struct bucket **grown = mem_try_alloc(2 * s->segment_cap * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        memcpy(grown, s->segments, s->segment_cap * sizeof(*grown));
        memset(grown + s->segment_cap, 0, s->segment_cap * sizeof(*grown));
        /* a prefetch without the lock may be reading the old one */
        s->retired_segments = mem_realloc(s->retired_segments,
                                          (s->retired_count + 1) * sizeof(*s->retired_segments));
        s->retired_segments[s->retired_count++] = s->segments;
        __atomic_store_n(&s->segments, grown, __ATOMIC_RELEASE);
        s->segment_cap *= 2;
    }
    if (s->segments[segment] == NULL) {
        struct bucket *fresh = chunk_take(s->slab.pool);
        if (fresh == NULL) {
            return false;
        }
        s->segments[segment] = fresh;
    }
    return true;
}

/* What a bucket's chain held, taken out. */
struct carried {
    uint32_t handle;
    uint8_t tag, meta;
};
enum { MAX_CARRIED = 512 };

static unsigned unload(struct shard *s, struct bucket *head, struct carried *out) {
    unsigned n = 0;
    struct bucket *b = head;
    uint32_t own = 0; /* handle of b when it is an overflow bucket */
    while (b != NULL) {
        uint32_t link = b->flags & BUCKET_LINK ? b->handle[BUCKET_SLOTS - 1] : 0;
        for (int i = 0; i < bucket_slots(b); i++) {
            if (b->handle[i] != 0) {
                CHECK(n < MAX_CARRIED);
                out[n++] = (struct carried){b->handle[i], b->tag[i], b->meta[i]};
            }
        }
        if (own != 0) {
            slab_free(&s->slab, own);
            s->overflow_buckets--;
        }
        own = link;
        b = link != 0 ? slab_at(&s->slab, link) : NULL;
    }
    uint8_t seq = (uint8_t)(head->seq + 1);
    uint16_t tick = head->tick;
    memset(head, 0, sizeof(*head));
    head->seq = seq;
    head->tick = tick;
    return n;
}

static unsigned chain_items(const struct shard *s, const struct bucket *b) {
    unsigned n = 0;
    for (; b != NULL; b = bucket_next(s, b)) {
        n += BUCKET_SLOTS;
    }
    return n;
}

void table_grow(struct shard *s) {
    if (likely(s->items <= s->buckets * FILL) || s->buckets >= (uint32_t)1 << 30) {
        return;
    }
    uint32_t fresh = s->buckets, old = fresh - ((uint32_t)1 << s->level);
    struct carried items[MAX_CARRIED];
    if (!add_segment(s, fresh / SEGMENT_BUCKETS) ||
        chain_items(s, shard_bucket(s, old)) > MAX_CARRIED) {
        return; /* without memory chains get longer; a hopeless chain stays where it is */
    }
    struct bucket *b = shard_bucket(s, old), *to = shard_bucket(s, fresh);
    memset(to, 0, sizeof(*to));
    unsigned n = unload(s, b, items);
    s->buckets++;
    if (s->buckets == (uint32_t)2 << s->level) {
        s->level++;
    }
    for (unsigned i = 0; i < n; i++) {
        __builtin_prefetch(slab_at(&s->slab, items[i].handle));
    }
    int64_t earliest = INT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        const unsigned char *it = slab_at(&s->slab, items[i].handle);
        uint32_t home = shard_index(s, item_hash(it));
        struct place at;
        /* the chain had room for all of them: the blocks it gave back are there to be taken */
        CHECK(place_in_chain(s, home == fresh ? to : b, &at));
        at.bucket->handle[at.slot] = items[i].handle;
        at.bucket->tag[at.slot] = items[i].tag;
        at.bucket->meta[at.slot] = items[i].meta;
        int64_t next = home == fresh ? wheel_next(s, it) : INT64_MAX;
        earliest = next < earliest ? next : earliest;
    }
    if (earliest != INT64_MAX) {
        wheel_schedule(s, fresh, earliest);
    }
    atomic_fetch_add_explicit(&s->splits, 1, memory_order_relaxed);
}

/* ---- shrinking ---- */

static unsigned chain_used(const struct shard *s, const struct bucket *b) {
    unsigned n = 0;
    for (; b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            n += b->handle[i] != 0;
        }
    }
    return n;
}

/* Whether so many overflow buckets are there to be taken. */
static bool reserve_overflow(struct shard *s, unsigned n) {
    uint32_t taken[MAX_CARRIED / (BUCKET_SLOTS - 1) + 2];
    unsigned k = 0;
    while (k < n && (taken[k] = slab_alloc(&s->slab, SLAB_TABLE_CLASS)) != 0) {
        k++;
    }
    bool all = k == n;
    while (k > 0) {
        slab_free(&s->slab, taken[--k]);
    }
    return all;
}

/* Undoes the last split. False when it cannot be undone now: the chain would be hopeless, or memory is gone. */
static bool merge(struct shard *s) {
    uint32_t last = s->buckets - 1, level = last < (uint32_t)1 << s->level ? s->level - 1 : s->level;
    struct bucket *from = shard_bucket(s, last), *to = shard_bucket(s, last - ((uint32_t)1 << level));
    unsigned used = chain_used(s, from);
    if (used + chain_used(s, to) > MAX_CARRIED || !reserve_overflow(s, used / (BUCKET_SLOTS - 1) + 1)) {
        return false;
    }
    struct carried items[MAX_CARRIED];
    unsigned n = unload(s, from, items);
    s->buckets = last;
    s->level = level;
    int64_t earliest = INT64_MAX;
    for (unsigned i = 0; i < n; i++) {
        const unsigned char *it = slab_at(&s->slab, items[i].handle);
        struct place at;
        CHECK(place_in_chain(s, to, &at));
        at.bucket->handle[at.slot] = items[i].handle;
        at.bucket->tag[at.slot] = items[i].tag;
        at.bucket->meta[at.slot] = items[i].meta;
        int64_t next = items[i].meta & META_TTL || s->l1->purging ? wheel_next(s, it) : INT64_MAX;
        earliest = next < earliest ? next : earliest;
    }
    if (earliest != INT64_MAX) {
        wheel_schedule(s, last - ((uint32_t)1 << level), earliest); /* what the wheel has of the bucket that went is passed over */
    }
    if (last % SEGMENT_BUCKETS == 0) {
        struct bucket *segment = s->segments[last / SEGMENT_BUCKETS];
        __atomic_store_n(&s->segments[last / SEGMENT_BUCKETS], NULL, __ATOMIC_RELAXED);
        chunk_give(s->slab.pool, segment); /* stays mapped: a prefetch without the lock may be reading it */
    }
    atomic_fetch_add_explicit(&s->merges, 1, memory_order_relaxed);
    return true;
}

bool table_shrink(struct shard *s, unsigned budget) {
    while (s->buckets > 1 && s->items < (uint64_t)s->buckets * SPARSE) {
        if (budget-- == 0) {
            return true;
        }
        if (!merge(s)) {
            return false;
        }
    }
    return false;
}
