/* SPDX-License-Identifier: BSD-3-Clause */
/* room: the byte budget: eviction, deferred freeing, compaction, and the tick that does them in slices. */
#include "src/l1/room.h"

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/l1/policy.h"
#include "src/l1/quota.h"

enum {
    PUBLISH_BYTES = 4096,     /* a shard's drift from what it has reported */
    SHARE_SLACK = 16,         /* a shard with a sixteenth more is larger */
    TICK_BUCKETS = 16,        /* buckets looked at for expiry per slice */
    TICK_VICTIMS = 32,        /* evictions per slice */
    TICK_FREES = 512,         /* elements of large values freed per slice */
    TICK_SWEEP = 16,          /* buckets swept for flushed databases per slice */
    TICK_MERGES = 32,         /* buckets merged per slice */
    COMPACT_LOOK = 64,        /* chunks looked at per slice */
    COMPACT_BLOCKS = 512,     /* blocks moved per slice */
    COMPACT_SHARE = 8,        /* compact when an eighth of the chunks' bytes is free, */
    WRITE_COMPACT_SHARE = 6,  /* those who write compact, too, when a sixth is free, */
    WRITE_COMPACT_LOOK = 8,
    WRITE_COMPACT_BLOCKS = 64,
    MOST_SPARES = 16,         /* candidates passed over for one victim */
    ASKED_SHARDS = 64,        /* for an item of a group over its bound */
    COMPACT_FLOOR = 8         /* and more than so many chunks: classes in use hold a part of one each */
};

static int64_t shard_bytes(const struct shard *s) {
    int64_t table = (int64_t)s->buckets * (int64_t)sizeof(struct bucket);
    return (int64_t)(s->slab.live_bytes + s->heap_bytes + s->policy_bytes) + table;
}

void shard_publish(struct shard *s) {
    int64_t drift = shard_bytes(s) - s->published_bytes;
    if (drift >= PUBLISH_BYTES || drift <= -PUBLISH_BYTES) {
        s->published_bytes += drift;
        atomic_fetch_add_explicit(&s->l1->used_bytes, drift, memory_order_relaxed);
        atomic_store_explicit(&s->published_items, s->items, memory_order_relaxed);
    }
}

size_t l1_bytes(const struct l1 *l1) {
    int64_t used = atomic_load_explicit(&l1->used_bytes, memory_order_relaxed);
    return used > 0 ? (size_t)used : 0;
}

void l1_set_limit(struct l1 *l1, size_t bytes) {
    atomic_store_explicit(&l1->limit_bytes, bytes, memory_order_relaxed);
}

void l1_trim(struct l1 *l1, size_t bytes) {
    chunk_pool_trim(l1->pool, bytes);
}

bool l1_over_limit(const struct l1 *l1) {
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    return limit != 0 && l1_bytes(l1) > limit;
}

/* So far that small shards pay, too. */
static bool far_over_limit(const struct l1 *l1) {
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    return l1_bytes(l1) > limit + limit / 64;
}

static uint64_t all_ttl_items(const struct l1 *l1) {
    uint64_t n = 0;
    for (unsigned db = 0; db < L1_PHYSICAL_DBS; db++) {
        n += l1_db_expires(l1, (uint8_t)db);
    }
    return n;
}

bool l1_deny_writes(const struct l1 *l1) {
    if (!l1_over_limit(l1)) {
        return false;
    }
    const struct policy *p = atomic_load_explicit(&l1->policy, memory_order_relaxed);
    return !p->evicts || (p->only_ttl && all_ttl_items(l1) == 0);
}

const char *l1_policy_name(const struct l1 *l1) {
    const struct policy *p = atomic_load_explicit(&l1->policy, memory_order_relaxed);
    return p->name;
}

void shard_set_policy(struct shard *s, const struct policy *policy) {
    if (s->policy_state != NULL) {
        s->policy->destroy(s, s->policy_state);
        s->policy_state = NULL;
    }
    if (policy == NULL) {
        return;
    }
    s->policy = policy;
    s->hit_mask = policy->hit_mask;
    s->hit_value = policy->hit_value;
    s->epoch = 0;
    s->epoch_touches = 0;
    if (policy->create != NULL) {
        s->policy_state = policy->create(s);
    }
}

bool l1_set_policy(struct l1 *l1, const char *name) {
    const struct policy *p = policy_find(name);
    if (p == NULL) {
        return false;
    }
    if (p == atomic_load_explicit(&l1->policy, memory_order_relaxed)) {
        return true;
    }
    for (unsigned i = 0; i < l1->shard_count; i++) {
        l1_lock(l1, i);
        shard_set_policy(&l1->shards[i], p);
        l1_unlock(l1, i);
    }
    atomic_store_explicit(&l1->policy, p, memory_order_relaxed);
    return true;
}

/* ---- compaction ---- */

static void move_block(struct shard *s, uint32_t from, uint32_t to) {
    unsigned cls = slab_class_at(&s->slab, from);
    unsigned char *it = slab_at(&s->slab, from);
    uint64_t hash = item_hash(it);
    struct place at;
    CHECK(table_find_handle(s, hash, from, &at));
    memcpy(slab_at(&s->slab, to), it, slab_class_size(&s->slab, cls));
    uint8_t meta = at.bucket->meta[at.slot];
    at.bucket->handle[at.slot] = to;
    at.bucket->seq++;
    if (s->policy->moved != NULL) {
        s->policy->moved(s, to, meta);
    }
}

/* Whether more than an n-th of the shard's chunks is free. */
static bool is_sparse(const struct shard *s, unsigned n) {
    return s->slab.free_bytes >= COMPACT_FLOOR * CHUNK_BYTES + s->slab.chunk_bytes / n;
}

/* Empties one sparse chunk, or so many blocks of it, if there is one among so many. */
static bool compact(struct shard *s, unsigned look, unsigned blocks) {
    const struct slab *slab = &s->slab;
    uint32_t chunk = slab_sparse_chunk(&s->slab, look);
    if (chunk == UINT32_MAX) {
        return false;
    }
    uint32_t from[COMPACT_BLOCKS];
    unsigned cls = slab->chunks[chunk].cls, moved = 0;
    unsigned n = slab_evacuate(&s->slab, chunk, from, blocks);
    for (; moved < n; moved++) {
        uint32_t to = slab_alloc(&s->slab, cls);
        if (to == 0) {
            break;
        }
        move_block(s, from[moved], to);
    }
    for (unsigned i = 0; i < moved; i++) {
        slab_free(&s->slab, from[i]);
    }
    if (moved == n && n < blocks) {
        slab_give_back(&s->slab, chunk);
    } else {
        s->slab.sweep = chunk - 1; /* the rest of it next: two half moved chunks would trade places for ever */
    }
    atomic_fetch_add_explicit(&s->moved, moved, memory_order_relaxed);
    return moved > 0 || n == 0;
}

/* ---- eviction ---- */

/* Whether another item had better go, as far as there is one. */
static bool is_spared(struct shard *s, struct place at, int64_t now_ms) {
    struct item_view view;
    uint32_t handle = at.bucket->handle[at.slot];
    if (s->l1->hooks.spared == NULL || item_expired(slab_at(&s->slab, handle), now_ms) || shard_below(s, at) == L1_BELOW_SAME) {
        return false;
    }
    shard_view(s, handle, &view);
    return s->l1->hooks.spared(s->l1->hooks.ctx, &view);
}

static void spare(struct shard *s, struct place at) {
    if (s->policy->spare != NULL) {
        s->policy->spare(s, at);
    } else {
        at.bucket->meta[at.slot] = s->policy->hit(s, at.bucket->meta[at.slot]);
    }
    atomic_fetch_add_explicit(&s->spared, 1, memory_order_relaxed);
}

/* any: also one that should be spared, when it must be. */
static bool pick_victim(struct shard *s, int64_t now_ms, bool any, struct place *at) {
    int spares = 0;
    while (s->policy->victim(s, at)) {
        bool last = spares++ == MOST_SPARES;
        if ((last && any) || !is_spared(s, *at, now_ms)) {
            return true;
        }
        spare(s, *at);
        if (last) {
            return false;
        }
    }
    return false;
}

static void evict_at(struct shard *s, struct place at, int64_t now_ms) {
    uint32_t handle = at.bucket->handle[at.slot];
    const unsigned char *it = slab_at(&s->slab, handle);
    struct key key = {item_key(it), 0, it[1]};
    key.hash = hash_key(key.name, key.db);
    const struct l1_hooks *hooks = &s->l1->hooks;
    if (hooks->evicted != NULL && (hooks->heeds == NULL || hooks->heeds(hooks->ctx)) && shard_is_live(s, &key, it, now_ms)) {
        struct item_view view;
        shard_view(s, handle, &view);
        uint8_t mask = s->policy->read_mask;
        bool read = mask == 0 || (at.bucket->meta[at.slot] & mask) != 0;
        hooks->evicted(hooks->ctx, &key, &view, shard_below(s, at), read);
    }
    shard_remove_as(s, key.hash, at, true);
    atomic_fetch_add_explicit(&s->evicted, 1, memory_order_relaxed);
}

static bool evict_one(struct shard *s, int64_t now_ms, bool any) {
    struct place at;
    bool found = pick_victim(s, now_ms, any, &at);
    if (found) {
        evict_at(s, at, now_ms);
    }
    return found;
}

static bool is_held(const struct l1 *l1) {
    return atomic_load_explicit(&l1->holds, memory_order_relaxed) != 0;
}

/* Over the limit, and it is time to do something about it. */
static bool must_evict(const struct l1 *l1) {
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    if (!l1_over_limit(l1) || is_held(l1)) {
        return false;
    }
    return l1->hooks.pressed == NULL || !l1->hooks.pressed(l1->hooks.ctx) || l1_bytes(l1) > limit + limit / 8;
}

static unsigned evict_some(struct shard *s, unsigned max, int64_t now_ms, bool any) {
    unsigned n = 0;
    while (n < max && must_evict(s->l1) && evict_one(s, now_ms, any)) {
        n++;
    }
    return n;
}

/* A shard drawn at random that holds clearly more items, or NULL. It pays first: without that the sizes of shards are a random walk,
 * and keys of a shard that has become small are hardly ever found. By items, not bytes: a large value must not cost its
 * neighbours their place. No lock needed. */
static struct shard *larger_shard(const struct shard *s) {
    struct l1 *l1 = s->l1;
    struct shard *other = &l1->shards[rng_below(l1->shard_count)];
    uint64_t own = atomic_load_explicit(&s->published_items, memory_order_relaxed);
    return atomic_load_explicit(&other->published_items, memory_order_relaxed) > own + own / SHARE_SLACK ? other : NULL;
}

static unsigned try_evict(struct shard *s, unsigned max, int64_t now_ms) {
    unsigned n = 0;
    if (lock_try(&s->lock)) {
        n = evict_some(s, max, now_ms, false);
        lock_release(&s->lock);
    }
    return n;
}

/* ---- groups over their bounds (quota.h) ---- */

bool l1_needs_room(const struct l1 *l1) {
    return atomic_load_explicit(&l1->crowded, memory_order_relaxed) != 0 || l1_over_limit(l1);
}

/* Of one group, from this shard. */
static unsigned thin_out(struct shard *s, unsigned group, unsigned max, int64_t now_ms) {
    struct place at;
    unsigned n = 0;
    while (n < max && (quota_crowded(s->l1) >> group & 1) && quota_victim(s, group, &at)) {
        evict_at(s, at, now_ms);
        n++;
    }
    atomic_fetch_add_explicit(&s->l1->groups[group].evicted, n, memory_order_relaxed);
    return n;
}

static unsigned try_thin_out(struct shard *s, unsigned group, unsigned max, int64_t now_ms) {
    unsigned n = 0;
    if (lock_try(&s->lock)) {
        n = thin_out(s, group, max, now_ms);
        lock_release(&s->lock);
    }
    return n;
}

/* Who writes pays, with the oldest of its own shard; where that has only what was just written, others are asked first, but
 * never waited for: what nobody pays now is left to the tick. */
static void make_group_room(struct shard *s, unsigned group, unsigned max, int64_t now_ms) {
    struct l1 *l1 = s->l1;
    unsigned n = 0, first = (unsigned)rng_below(l1->shard_count);
    if (quota_items(s, group) > 1) {
        n = thin_out(s, group, 1, now_ms);
    }
    for (unsigned i = 0; n == 0 && i < ASKED_SHARDS && i < l1->shard_count; i++) {
        struct shard *other = &l1->shards[(first + i) % l1->shard_count];
        n += other != s ? try_thin_out(other, group, max, now_ms) : 0;
    }
    thin_out(s, group, max - (n < max ? n : max), now_ms);
}

static void make_groups_room(struct shard *s, unsigned max, int64_t now_ms) {
    for (uint32_t bits = is_held(s->l1) ? 0 : quota_crowded(s->l1); bits != 0; bits &= bits - 1) {
        make_group_room(s, (unsigned)__builtin_ctz(bits), max, now_ms);
    }
}

bool l1_is_behind(const struct l1 *l1) {
    const struct policy *p = atomic_load_explicit(&l1->policy, memory_order_relaxed);
    size_t limit = atomic_load_explicit(&l1->limit_bytes, memory_order_relaxed);
    return limit != 0 && p->evicts && l1_bytes(l1) > limit + limit / 16 && !is_held(l1);
}

void l1_make_room(struct l1 *l1, unsigned shard, unsigned max_victims, int64_t now_ms) {
    struct shard *s = &l1->shards[shard];
    if (unlikely(atomic_load_explicit(&l1->crowded, memory_order_relaxed) != 0)) {
        make_groups_room(s, max_victims, now_ms);
    }
    if (!s->policy->evicts || !l1_over_limit(l1)) {
        return;
    }
    struct shard *larger = larger_shard(s);
    unsigned n = larger != NULL ? try_evict(larger, max_victims, now_ms) : 0;
    if (unlikely(is_sparse(s, WRITE_COMPACT_SHARE))) {
        compact(s, WRITE_COMPACT_LOOK, WRITE_COMPACT_BLOCKS);
    }
    n += evict_some(s, max_victims - n, now_ms, false);
    /* an own shard with little in it cannot pay: others are asked, but never waited for */
    for (unsigned i = 1; i < l1->shard_count && n < max_victims && l1_over_limit(l1); i++) {
        n += try_evict(&l1->shards[(shard + i) % l1->shard_count], max_victims - n, now_ms);
    }
    if (n == 0) { /* nobody has anything but what is spared */
        evict_some(s, 1, now_ms, true);
    }
}

void l1_hold(struct l1 *l1, bool hold) {
    atomic_fetch_add_explicit(&l1->holds, hold ? 1 : (uint32_t)-1, memory_order_relaxed);
}

unsigned l1_evict(struct l1 *l1, unsigned shard, unsigned max_victims, int64_t now_ms) {
    struct shard *s = &l1->shards[shard];
    unsigned n = 0;
    while (s->policy->evicts && n < max_victims && !is_held(l1) && evict_one(s, now_ms, true)) {
        n++;
    }
    return n;
}

/* ---- deferred freeing ---- */

/* A large aggregate on its way out. */
struct corpse {
    struct list node;
    struct value *value;
};

bool shard_defer_free(struct shard *s, const unsigned char *it) {
    if (!item_is(it, ITEM_HEAP) || item_type(it) == TYPE_STRING || item_is(it, ITEM_LONG_KEY)) {
        return false;
    }
    struct value *v = item_pointer(item_value_at(it));
    if (value_len(v) <= LAZY_FREE_ELEMENTS) {
        return false;
    }
    if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1) {
        return true; /* somebody else still has it, and frees it */
    }
    struct corpse *c = mem_alloc(sizeof(*c));
    c->value = v;
    list_push_back(&s->pending, &c->node);
    return true;
}

bool shard_free_pending(struct shard *s, size_t budget) {
    if (list_empty(&s->pending)) {
        return false;
    }
    struct corpse *c = LIST_ENTRY(s->pending.next, struct corpse, node);
    if (value_free_some(c->value, budget)) {
        list_remove(&c->node);
        mem_free(c);
    }
    return !list_empty(&s->pending);
}

/* ---- sweep of flushed databases and purged items ---- */

/* Whether it is to go; one that a soft purge made stale rests from now on. */
static bool is_swept(struct shard *s, const bool *live, unsigned char *it, int64_t now_ms) {
    if (likely(live[it[1]] && !s->l1->purging)) {
        return false;
    }
    struct key key = key_make(item_key(it), it[1]);
    return !live[it[1]] || shard_is_gone(s, &key, it, now_ms);
}

static bool sweep(struct shard *s, unsigned budget, int64_t now_ms) {
    struct l1 *l1 = s->l1;
    uint64_t generation = atomic_load_explicit(&l1->flush_generation, memory_order_relaxed);
    if (s->sweep_generation == generation) {
        return false;
    }
    bool live[L1_PHYSICAL_DBS] = {false};
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        live[l1->db_map[i]] = true;
    }
    for (; budget > 0 && s->sweep_bucket < s->buckets; budget--, s->sweep_bucket++) {
        bool again;
        do {
            again = false;
            for (struct bucket *b = shard_bucket(s, s->sweep_bucket); b != NULL && !again;
                 b = bucket_next(s, b)) {
                for (int i = 0; i < bucket_slots(b) && !again; i++) {
                    unsigned char *it = b->handle[i] != 0 ? slab_at(&s->slab, b->handle[i]) : NULL;
                    if (it != NULL && unlikely(l1->grouping || item_group(it) != 0)) {
                        quota_regroup(s, b->handle[i]);
                    }
                    if (it != NULL && is_swept(s, live, it, now_ms)) {
                        shard_remove_as(s, item_hash(it), (struct place){b, i}, false);
                        atomic_fetch_add_explicit(&s->swept, 1, memory_order_relaxed);
                        again = true;
                    }
                }
            }
        } while (again);
    }
    if (s->sweep_bucket >= s->buckets) {
        s->sweep_bucket = 0;
        s->sweep_generation = generation; /* a flush meanwhile has raised it: another pass */
        return false;
    }
    return true;
}

/* ---- the tick ---- */

/* What one tick does, and how it goes. */
struct tick {
    int64_t now_ms;
    bool any;         /* what is to be spared goes, too */
    unsigned evicted; /* how many were */
};

static bool tick_expire(struct shard *s, struct tick *t) {
    bool active = atomic_load_explicit(&s->l1->active_expire, memory_order_relaxed);
    return active && wheel_run(s, t->now_ms, TICK_BUCKETS);
}

static bool tick_sweep(struct shard *s, struct tick *t) {
    return sweep(s, TICK_SWEEP, t->now_ms);
}

static bool tick_free(struct shard *s, struct tick *t) {
    (void)t;
    return shard_free_pending(s, TICK_FREES);
}

static bool tick_evict(struct shard *s, struct tick *t) {
    struct l1 *l1 = s->l1;
    if (!l1_over_limit(l1) || !s->policy->evicts || (larger_shard(s) != NULL && !far_over_limit(l1))) {
        return false;
    }
    unsigned n = evict_some(s, TICK_VICTIMS, t->now_ms, t->any);
    t->evicted += n;
    return n > 0 && l1_over_limit(l1);
}

static bool tick_groups(struct shard *s, struct tick *t) {
    bool more = false;
    for (uint32_t bits = is_held(s->l1) ? 0 : quota_crowded(s->l1); bits != 0; bits &= bits - 1) {
        more |= thin_out(s, (unsigned)__builtin_ctz(bits), TICK_VICTIMS, t->now_ms) == TICK_VICTIMS;
    }
    return more;
}

static bool tick_compact(struct shard *s, struct tick *t) {
    (void)t;
    return is_sparse(s, COMPACT_SHARE) && compact(s, COMPACT_LOOK, COMPACT_BLOCKS);
}

/* A sweep under way goes by bucket, and would miss what moves to one it has been to. */
static bool tick_shrink(struct shard *s, struct tick *t) {
    (void)t;
    bool swept = s->sweep_generation == atomic_load_explicit(&s->l1->flush_generation, memory_order_relaxed);
    return swept && table_shrink(s, TICK_MERGES);
}

/* Each under the lock of its own, so that nobody waits for more than one of them. */
static bool (*const tick_parts[])(struct shard *s, struct tick *t) = {tick_expire, tick_sweep, tick_free, tick_evict, tick_groups, tick_compact, tick_shrink};
enum { TICK_PARTS = sizeof(tick_parts) / sizeof(tick_parts[0]) };

static bool run_part(struct l1 *l1, unsigned at, struct tick *t) {
    struct shard *s = &l1->shards[at / TICK_PARTS];
    lock_acquire(&s->lock);
    bool more = tick_parts[at % TICK_PARTS](s, t);
    shard_publish(s);
    lock_release(&s->lock);
    return more;
}

bool l1_tick(struct l1 *l1, int64_t now_ms, int64_t budget_us) {
    const int64_t end = clock_mono_us() + budget_us;
    const unsigned round = l1->shard_count * TICK_PARTS;
    struct tick t = {.now_ms = now_ms};
    bool more;
    unsigned at = atomic_load_explicit(&l1->tick_at, memory_order_relaxed);
    unsigned quiet = atomic_load_explicit(&l1->tick_quiet, memory_order_relaxed);
    do {
        more = false;
        for (unsigned i = 0; i < round; i++) {
            bool left = run_part(l1, at, &t);
            more |= left;
            quiet = left ? 0 : quiet + 1;
            at = at + 1 < round ? at + 1 : 0;
            if (clock_mono_us() >= end) { /* a machine too slow for a whole round a call must still come to its end */
                atomic_store_explicit(&l1->tick_at, at, memory_order_relaxed);
                atomic_store_explicit(&l1->tick_quiet, quiet < round ? quiet : 0, memory_order_relaxed);
                return quiet < round;
            }
        }
        t.any = !t.any && t.evicted == 0 && l1->hooks.spared != NULL && far_over_limit(l1); /* once more round, sparing nothing */
    } while (more || t.any);
    atomic_store_explicit(&l1->tick_quiet, 0, memory_order_relaxed);
    return false;
}
