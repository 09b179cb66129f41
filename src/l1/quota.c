/* SPDX-License-Identifier: BSD-3-Clause */
/* quota: counting, and rings of hashes. */
#include "src/l1/quota.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/policy.h"

enum {
    RING_START = 32,
    RING_SPARE = 64,  /* old entries nobody minds */
    RING_SCRUBS = 4,  /* entries looked at per arrival when there are more */
    RING_STEPS = 256  /* entries looked at for one victim */
};

struct ring {
    uint64_t *hash; /* a power of two of them; some are old: the item has gone */
    uint32_t cap, head, tail, items;
};

struct quota {
    struct ring rings[L1_GROUPS];
};

/* ---- sums ---- */

static bool is_over(const struct group *g, int64_t slack) {
    int64_t limit = atomic_load_explicit(&g->limit, memory_order_relaxed);
    return limit != 0 && atomic_load_explicit(&g->bytes, memory_order_relaxed) > limit + (slack != 0 ? limit / slack : 0);
}

static void add(struct shard *s, unsigned group, int64_t bytes, int64_t items) {
    struct group *g = &s->l1->groups[group];
    atomic_fetch_add_explicit(&g->bytes, bytes, memory_order_relaxed);
    if (items != 0) {
        atomic_fetch_add_explicit(&g->items, items, memory_order_relaxed);
    }
    uint32_t bit = (uint32_t)1 << group;
    if (bytes > 0 && is_over(g, 0) && (atomic_load_explicit(&s->l1->crowded, memory_order_relaxed) & bit) == 0) {
        atomic_fetch_or_explicit(&s->l1->crowded, bit, memory_order_relaxed);
    }
}

void quota_resize(struct shard *s, const unsigned char *it, int64_t more) {
    add(s, item_group(it), more, 0);
}

uint32_t quota_crowded(struct l1 *l1) {
    enum { PRESSED_PART = 8 };
    uint32_t out = 0, crowded = atomic_load_explicit(&l1->crowded, memory_order_relaxed);
    bool pressed = crowded != 0 && l1->hooks.pressed != NULL && l1->hooks.pressed(l1->hooks.ctx);
    for (uint32_t bits = crowded; bits != 0; bits &= bits - 1) {
        unsigned group = (unsigned)__builtin_ctz(bits);
        const struct group *g = &l1->groups[group];
        if (is_over(g, pressed ? PRESSED_PART : 0)) {
            out |= (uint32_t)1 << group;
        } else if (!is_over(g, 0)) {
            atomic_fetch_and_explicit(&l1->crowded, ~((uint32_t)1 << group), memory_order_relaxed);
            /* who has just gone over it may have seen the bit still there */
            atomic_fetch_or_explicit(&l1->crowded, is_over(g, 0) ? (uint32_t)1 << group : 0, memory_order_relaxed);
        }
    }
    return out;
}

void l1_group_read(const struct l1 *l1, unsigned group, struct l1_group *out) {
    const struct group *g = &l1->groups[group];
    int64_t bytes = atomic_load_explicit(&g->bytes, memory_order_relaxed), items = atomic_load_explicit(&g->items, memory_order_relaxed);
    out->bytes = bytes > 0 ? (uint64_t)bytes : 0;
    out->items = items > 0 ? (uint64_t)items : 0;
    out->evicted = atomic_load_explicit(&g->evicted, memory_order_relaxed);
}

void l1_set_groups(struct l1 *l1, const int64_t limits[L1_GROUPS], uint32_t anew) {
    l1->grouping = false;
    for (unsigned i = 1; i < L1_GROUPS; i++) {
        struct group *g = &l1->groups[i];
        l1->grouping |= limits[i] != 0;
        atomic_store_explicit(&g->limit, limits[i], memory_order_relaxed);
        if (anew >> i & 1) {
            atomic_store_explicit(&g->evicted, 0, memory_order_relaxed);
        }
        atomic_fetch_or_explicit(&l1->crowded, is_over(g, 0) ? (uint32_t)1 << i : 0, memory_order_relaxed);
    }
    atomic_fetch_add_explicit(&l1->flush_generation, 1, memory_order_relaxed); /* the sweep sorts what is there */
    for (unsigned i = 0; i < l1->shard_count; i++) {
        l1->shards[i].sweep_bucket = 0;
    }
}

/* ---- rings ---- */

static uint32_t ring_count(const struct ring *r) {
    return r->tail - r->head;
}

static void ring_push(struct ring *r, uint64_t hash) {
    uint32_t n = ring_count(r);
    if (n == r->cap) {
        uint32_t cap = r->cap == 0 ? RING_START : 2 * r->cap;
        uint64_t *grown = mem_alloc(cap * sizeof(*grown));
        for (uint32_t i = 0; i < n; i++) {
            grown[i] = r->hash[(r->head + i) & (r->cap - 1)];
        }
        mem_free(r->hash);
        *r = (struct ring){.hash = grown, .cap = cap, .tail = n, .items = r->items};
    }
    r->hash[r->tail++ & (r->cap - 1)] = hash;
}

static uint64_t ring_pop(struct ring *r) {
    return r->hash[r->head++ & (r->cap - 1)];
}

/* The group's item of that hash. */
static bool find(const struct shard *s, uint64_t hash, unsigned group, struct place *out) {
    uint8_t tag = hash_tag(hash);
    for (struct bucket *b = shard_bucket(s, shard_index(s, hash)); b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            const unsigned char *it = b->handle[i] != 0 && b->tag[i] == tag ? slab_at(&s->slab, b->handle[i]) : NULL;
            if (it != NULL && item_group(it) == group && item_hash(it) == hash) {
                *out = (struct place){b, i};
                return true;
            }
        }
    }
    return false;
}

/* While most of the ring is old, of items deleted or come again: turns it a little. */
static void ring_scrub(struct shard *s, struct ring *r, unsigned group) {
    struct place at;
    for (int i = 0; i < RING_SCRUBS && ring_count(r) > 2 * r->items + RING_SPARE; i++) {
        uint64_t hash = ring_pop(r);
        if (find(s, hash, group, &at)) {
            ring_push(r, hash);
        }
    }
}

bool quota_victim(struct shard *s, unsigned group, struct place *out) {
    struct ring *r = s->quota != NULL ? &s->quota->rings[group] : NULL;
    for (int steps = 0; r != NULL && steps < RING_STEPS && ring_count(r) > 0; steps++) {
        uint64_t hash = ring_pop(r);
        if (!find(s, hash, group, out)) {
            continue;
        }
        if (s->policy->lap == NULL || !s->policy->lap(&out->bucket->meta[out->slot])) {
            return true;
        }
        ring_push(r, hash);
    }
    return false;
}

/* ---- items ---- */

uint32_t quota_items(const struct shard *s, unsigned group) {
    return s->quota != NULL ? s->quota->rings[group].items : 0;
}

void quota_join(struct shard *s, uint64_t hash, unsigned char *it, size_t bytes, unsigned before) {
    unsigned group = s->l1->hooks.group(s->l1->hooks.ctx, it[1], item_key(it));
    item_set_group(it, group);
    if (group == 0) {
        return;
    }
    if (s->quota == NULL) {
        s->quota = mem_zalloc(sizeof(*s->quota));
    }
    struct ring *r = &s->quota->rings[group];
    r->items++;
    add(s, group, (int64_t)bytes, 1);
    if (group != before) { /* else it keeps the place of the one it replaced */
        ring_push(r, hash);
        ring_scrub(s, r, group);
    }
}

void quota_leave(struct shard *s, const unsigned char *it, size_t bytes) {
    unsigned group = item_group(it);
    struct ring *r = &s->quota->rings[group];
    ASSERT(r->items > 0);
    add(s, group, -(int64_t)bytes, -1);
    r->items--;
}

void quota_regroup(struct shard *s, uint32_t handle) {
    struct l1 *l1 = s->l1;
    unsigned char *it = slab_at(&s->slab, handle);
    unsigned before = item_group(it), now = l1->grouping ? l1->hooks.group(l1->hooks.ctx, it[1], item_key(it)) : 0;
    if (now == before) {
        return;
    }
    size_t bytes = shard_item_bytes(s, handle);
    if (before != 0) {
        quota_leave(s, it, bytes);
        item_set_group(it, 0);
    }
    if (now != 0) {
        quota_join(s, item_hash(it), it, bytes, 0);
    }
}

void quota_fini(struct shard *s) {
    for (unsigned i = 0; s->quota != NULL && i < L1_GROUPS; i++) {
        mem_free(s->quota->rings[i].hash);
    }
    mem_free(s->quota);
}
