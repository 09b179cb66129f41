/* SPDX-License-Identifier: BSD-3-Clause */
/* keyspace: what looks at more than one key: databases, scans, random keys, sums. */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/room.h"
#include "src/l1/policy.h"
#include "src/l1/shard.h"

uint64_t l1_db_keys(const struct l1 *l1, uint8_t db) {
    uint64_t n = 0;
    for (unsigned i = 0; i < l1->shard_count; i++) {
        n += atomic_load_explicit(&l1->shards[i].db_keys[db], memory_order_relaxed);
    }
    return n;
}

uint64_t l1_keys(const struct l1 *l1) {
    uint64_t n = 0;
    for (unsigned db = 0; db < L1_PHYSICAL_DBS; db++) {
        n += l1_db_keys(l1, (uint8_t)db);
    }
    return n;
}

uint64_t l1_db_expires(const struct l1 *l1, uint8_t db) {
    uint64_t n = 0;
    for (unsigned i = 0; i < l1->shard_count; i++) {
        n += atomic_load_explicit(&l1->shards[i].db_expires[db], memory_order_relaxed);
    }
    return n;
}

uint64_t l1_db_same(const struct l1 *l1, uint8_t db) {
    uint64_t n = 0;
    for (unsigned i = 0; i < l1->shard_count; i++) {
        n += atomic_load_explicit(&l1->shards[i].db_same[db], memory_order_relaxed);
    }
    return n;
}

/* ---- databases ---- */

void l1_restore_map(struct l1 *l1, const uint8_t *map) {
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        l1->db_map[i] = map[i];
    }
}

static void touch_db(struct l1 *l1, int physical) {
    for (unsigned i = 0; i < l1->shard_count; i++) {
        watch_touch_db(&l1->shards[i].watches, physical);
        flight_overtake_all(&l1->shards[i].flights);
    }
}

/* A physical number that no logical database has and no item bears. */
static int unused_db(const struct l1 *l1) {
    bool used[L1_PHYSICAL_DBS] = {false};
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        used[l1->db_map[i]] = true;
    }
    for (int db = 0; db < L1_PHYSICAL_DBS; db++) {
        if (!used[db] && l1_db_keys(l1, (uint8_t)db) == 0) {
            return db;
        }
    }
    return -1;
}

bool l1_flush_db(struct l1 *l1, unsigned logical) {
    uint8_t old = l1->db_map[logical];
    touch_db(l1, old);
    if (l1_db_keys(l1, old) == 0) {
        return true;
    }
    int fresh = unused_db(l1);
    if (fresh < 0) {
        return false;
    }
    l1->db_map[logical] = (uint8_t)fresh;
    atomic_fetch_add_explicit(&l1->flush_generation, 1, memory_order_relaxed);
    for (unsigned i = 0; i < l1->shard_count; i++) {
        l1->shards[i].sweep_bucket = 0;
    }
    return true;
}

bool l1_flush_all(struct l1 *l1) {
    bool ok = true;
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        ok &= l1_flush_db(l1, i);
    }
    return ok;
}

void l1_swap_db(struct l1 *l1, unsigned a, unsigned b) {
    uint8_t was = l1->db_map[a];
    touch_db(l1, was);
    touch_db(l1, l1->db_map[b]);
    l1->db_map[a] = l1->db_map[b];
    l1->db_map[b] = was;
}

/* ---- scan ---- */

/* Behind the shard's bits each bucket is an interval of positions (hash_position), here of their next 32 bits, and a split
 * only halves it. */
static uint64_t bucket_width(const struct shard *s, uint32_t i) {
    uint32_t half = (uint32_t)1 << s->level;
    bool narrow = i >= half || i + half < s->buckets;
    return (uint64_t)1 << (32 - s->level - (narrow ? 1 : 0));
}

static bool db_wanted(const struct l1 *l1, int db, uint8_t item_db) {
    if (db >= 0) {
        return item_db == db;
    }
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        if (l1->db_map[i] == item_db) {
            return true;
        }
    }
    return false;
}

/* Keys from position on: of a bucket that two were merged into since, the first half may have been visited. */
static size_t visit_bucket(struct shard *s, uint32_t index, uint64_t position, int db, int64_t now_ms, l1_visit_fn fn, void *ctx) {
    size_t seen = 0;
    for (struct bucket *b = shard_bucket(s, index); b != NULL; b = bucket_next(s, b)) {
        for (int i = 0; i < bucket_slots(b); i++) {
            if (b->handle[i] == 0) {
                continue;
            }
            const unsigned char *it = slab_at(&s->slab, b->handle[i]);
            if (!db_wanted(s->l1, db, it[1])) {
                continue;
            }
            struct key key = key_make(item_key(it), it[1]);
            if (hash_position(key.hash) < position || !shard_is_live(s, &key, it, now_ms)) {
                continue;
            }
            struct item_view view;
            shard_view(s, b->handle[i], &view);
            view.read = s->policy->read_mask == 0 || (b->meta[i] & s->policy->read_mask) != 0;
            fn(ctx, &key, &view);
            seen++;
        }
    }
    return seen;
}

uint64_t l1_scan(struct l1 *l1, uint64_t position, size_t want, int db, int64_t now_ms, bool locked,
                 l1_visit_fn fn, void *ctx) {
    const uint64_t within = UINT64_MAX >> l1->shard_shift; /* bits of a position behind the shard's */
    const unsigned unit = 32 - l1->shard_shift;
    size_t seen = 0, buckets = 0;
    do {
        struct shard *s = &l1->shards[l1_shard_of(l1, hash_position(position))];
        uint64_t base = position & ~within, at = (position & within) >> unit;
        if (!locked) {
            lock_acquire(&s->lock);
        }
        while (at <= UINT32_MAX && seen < want && buckets < want * 16) {
            uint32_t i = shard_index(s, hash_position(base | at << unit));
            seen += visit_bucket(s, i, base | at << unit, db, now_ms, fn, ctx);
            buckets++;
            uint64_t width = bucket_width(s, i);
            at = (at & ~(width - 1)) + width;
        }
        if (!locked) {
            lock_release(&s->lock);
        }
        position = base + (at << unit); /* 0 behind the last shard */
    } while (position != 0 && seen < want && buckets < want * 16);
    return position;
}

/* ---- random ---- */

struct pick {
    l1_visit_fn fn;
    void *ctx;
    uint64_t seen;
    struct key key;
    struct item_view view;
};

static void consider(void *ctx, const struct key *key, const struct item_view *view) {
    struct pick *p = ctx;
    if (rng_below(++p->seen) == 0) { /* reservoir of one */
        p->key = *key;
        p->view = *view;
    }
}

bool l1_random(struct l1 *l1, uint8_t db, int64_t now_ms, bool locked, l1_visit_fn fn, void *ctx) {
    if (l1_db_keys(l1, db) == 0) {
        return false;
    }
    unsigned start = (unsigned)rng_below(l1->shard_count);
    for (unsigned k = 0; k < l1->shard_count; k++) {
        struct shard *s = &l1->shards[(start + k) % l1->shard_count];
        if (!locked) {
            lock_acquire(&s->lock);
        }
        struct pick p = {0};
        uint32_t from = (uint32_t)rng_below(s->buckets);
        for (uint32_t i = 0; i < s->buckets && p.seen == 0; i++) {
            visit_bucket(s, (from + i) % s->buckets, 0, db, now_ms, consider, &p);
        }
        if (p.seen > 0) {
            fn(ctx, &p.key, &p.view);
        }
        if (!locked) {
            lock_release(&s->lock);
        }
        if (p.seen > 0) {
            return true;
        }
    }
    return false;
}

/* ---- sums ---- */

static bool try_patiently(struct lock *l) {
    for (int i = 0; i < 1000; i++) {
        if (lock_try(l)) {
            return true;
        }
    }
    return false;
}

static uint64_t shard_footprint(const struct shard *s) {
    uint64_t heap = sizeof(*s) + s->policy_bytes + s->segment_cap * sizeof(*s->segments) +
                    s->slab.chunk_cap * (sizeof(*s->slab.chunks) + sizeof(*s->slab.bases));
    uint64_t empty = SEGMENT_BUCKETS - 1 - (s->buckets - 1) % SEGMENT_BUCKETS;
    heap += s->policy_state != NULL ? mem_usable(s->policy_state) : 0;
    return heap - slab_untouched(&s->slab) - empty * sizeof(struct bucket);
}

uint64_t l1_footprint(const struct l1 *l1) {
    uint64_t n = sizeof(*l1) + mem_usable(l1->groups) + chunk_pool_resident(l1->pool);
    for (unsigned i = 0; i < l1->shard_count; i++) {
        struct shard *s = &l1->shards[i];
        lock_acquire(&s->lock);
        n += shard_footprint(s);
        lock_release(&s->lock);
    }
    return n;
}

void l1_stats_read(const struct l1 *l1, struct l1_stats *out) {
    *out = (struct l1_stats){.chunk_bytes = chunk_pool_bytes(l1->pool),
                             .chunk_resident_bytes = chunk_pool_resident(l1->pool)};
    for (unsigned i = 0; i < l1->shard_count; i++) {
        struct shard *s = &l1->shards[i];
        out->expired += atomic_load_explicit(&s->expired, memory_order_relaxed);
        out->evicted += atomic_load_explicit(&s->evicted, memory_order_relaxed);
        out->swept += atomic_load_explicit(&s->swept, memory_order_relaxed);
        out->spared += atomic_load_explicit(&s->spared, memory_order_relaxed);
        out->inserted += atomic_load_explicit(&s->inserted, memory_order_relaxed);
        out->splits += atomic_load_explicit(&s->splits, memory_order_relaxed);
        out->merges += atomic_load_explicit(&s->merges, memory_order_relaxed);
        out->moved_by_compaction += atomic_load_explicit(&s->moved, memory_order_relaxed);
        if (!try_patiently(&s->lock)) {
            continue; /* this very caller may hold it: an INFO inside EXEC leaves the shard out */
        }
        out->live_bytes += s->slab.live_bytes;
        out->heap_bytes += s->heap_bytes;
        out->policy_bytes += s->policy_bytes;
        out->buckets += s->buckets;
        out->overflow_buckets += s->overflow_buckets;
        out->flights += s->flights.count;
        out->watches += s->watches.count;
        lock_release(&s->lock);
    }
    out->table_bytes = out->buckets * sizeof(struct bucket);
}
