/* SPDX-License-Identifier: BSD-3-Clause */
/* holders: cells by shard, outboxes by loop. */
#include "src/server/holders.h"

#include <string.h>

#include "src/base/check.h"
#include "src/base/hash.h"
#include "src/base/lock.h"
#include "src/base/mem.h"

enum { SETS = 8, WAYS = 8 /* of a shard: so many keys with copies elsewhere, then the next one to end gives way */ };

struct cell {
    uint64_t name_hash, nodes;
    int64_t until_ms;
};

/* The tags apart from the rest: a change of another key looks at one cache line. */
struct cell_set {
    uint64_t tags[WAYS]; /* 0: free */
    struct cell cells[WAYS];
};

/* Shard lock. */
struct holders_shard {
    struct cell_set sets[SETS];
};

struct outbox {
    _Atomic bool waiting;
    _Atomic uint64_t nodes; /* that the loop has links to, or has had */
    struct news news;       /* lock */
};

struct holders {
    struct lock lock; /* HOLDERS: the outboxes' news */
    unsigned loops;
    void (*wake)(void *ctx, unsigned loop);
    void *ctx;
    struct outbox *outboxes;
    struct holders_shard *shards;
};

struct holders *holders_create(unsigned shards, unsigned loops, void (*wake)(void *ctx, unsigned loop), void *ctx) {
    struct holders *h = mem_zalloc(sizeof(*h));
    lock_init(&h->lock, LOCK_HOLDERS, 0);
    h->loops = loops;
    h->wake = wake;
    h->ctx = ctx;
    h->outboxes = mem_zalloc(loops * sizeof(*h->outboxes));
    h->shards = mem_zalloc(shards * sizeof(*h->shards));
    return h;
}

void holders_destroy(struct holders **h) {
    mem_free((*h)->outboxes);
    mem_free((*h)->shards);
    mem_free(*h);
    *h = NULL;
}

uint64_t holders_bit(struct slice node_id) {
    return (uint64_t)1 << (hash_name(node_id) & 63);
}

void holders_linked(struct holders *h, unsigned loop, uint64_t nodes) {
    atomic_fetch_or(&h->outboxes[loop].nodes, nodes);
}

/* ---- outboxes ---- */

static void put(struct news *news, uint64_t name_hash, uint64_t nodes) {
    if (name_hash == 0 || news->n == NEWS_MAX) {
        news->all = true;
    } else {
        news->items[news->n].name_hash = name_hash;
        news->items[news->n++].nodes = nodes;
    }
}

/* name_hash 0: everything. */
static void tell(struct holders *h, uint64_t name_hash, uint64_t nodes) {
    for (unsigned i = 0; i < h->loops; i++) {
        struct outbox *o = &h->outboxes[i];
        if ((atomic_load_explicit(&o->nodes, memory_order_relaxed) & nodes) == 0) {
            continue;
        }
        lock_acquire(&h->lock);
        bool first = !atomic_load_explicit(&o->waiting, memory_order_relaxed);
        put(&o->news, name_hash, nodes);
        atomic_store_explicit(&o->waiting, true, memory_order_release);
        lock_release(&h->lock);
        if (first) {
            h->wake(h->ctx, i);
        }
    }
}

bool holders_waiting(const struct holders *h, unsigned loop) {
    return atomic_load_explicit(&h->outboxes[loop].waiting, memory_order_acquire);
}

bool holders_take(struct holders *h, unsigned loop, struct news *out) {
    struct outbox *o = &h->outboxes[loop];
    if (!holders_waiting(h, loop)) {
        return false;
    }
    lock_acquire(&h->lock);
    out->all = o->news.all;
    out->n = o->news.n;
    memcpy(out->items, o->news.items, o->news.n * sizeof(out->items[0]));
    o->news.all = false;
    o->news.n = 0;
    atomic_store_explicit(&o->waiting, false, memory_order_relaxed);
    lock_release(&h->lock);
    return true;
}

/* ---- cells ---- */

/* Never 0. The lowest bit is the shard's: of one shard's keys all have the same. */
static uint64_t tag_of(const struct key *key) {
    return key->hash | 1;
}

static struct cell_set *set_of(struct holders *h, unsigned shard, const struct key *key) {
    return &h->shards[shard].sets[key->hash >> 48 & (SETS - 1)];
}

/* The key's cell; else one that is free or past its end, or else, of those in the way, the next to end. */
static unsigned cell_for(struct cell_set *set, uint64_t tag, int64_t now_ms) {
    unsigned best = 0;
    for (unsigned i = 0; i < WAYS; i++) {
        if (set->tags[i] == tag) {
            return i;
        }
        set->tags[i] = set->cells[i].until_ms <= now_ms ? 0 : set->tags[i];
        bool sooner = set->cells[i].until_ms < set->cells[best].until_ms;
        best = set->tags[best] != 0 && (set->tags[i] == 0 || sooner) ? i : best;
    }
    return best;
}

void holders_add(struct holders *h, unsigned shard, const struct key *key, uint64_t nodes, int64_t now_ms, int64_t until_ms) {
    struct cell_set *set = set_of(h, shard, key);
    unsigned i = cell_for(set, tag_of(key), now_ms);
    struct cell *c = &set->cells[i];
    if (set->tags[i] != tag_of(key)) {
        if (set->tags[i] != 0) { /* nobody would know of its copies any more: they end now */
            tell(h, c->name_hash, c->nodes);
        }
        set->tags[i] = tag_of(key);
        *c = (struct cell){.name_hash = hash_name(key->name)};
    }
    c->nodes |= nodes;
    c->until_ms = until_ms > c->until_ms ? until_ms : c->until_ms;
}

void holders_changed(struct holders *h, unsigned shard, const struct key *key) {
    if (key == NULL) {
        tell(h, 0, UINT64_MAX);
        return;
    }
    struct cell_set *set = set_of(h, shard, key);
    for (unsigned i = 0; i < WAYS; i++) {
        if (unlikely(set->tags[i] == tag_of(key))) {
            tell(h, set->cells[i].name_hash, set->cells[i].nodes);
            set->tags[i] = 0;
        }
    }
}
