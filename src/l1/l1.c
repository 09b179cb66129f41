/* SPDX-License-Identifier: BSD-3-Clause */
/* l1: items read and written, under their shard's lock. The whole keyspace is keyspace.c; memory is room.c. */
#include "src/l1/l1.h"

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/l1/policy.h"
#include "src/l1/quota.h"
#include "src/l1/room.h"
#include "src/l1/shard.h"

/* ---- life ---- */

static bool shard_init(struct shard *s, struct l1 *l1, unsigned id, const struct policy *policy) {
    lock_init(&s->lock, LOCK_SHARD, id);
    s->id = id;
    s->shift = l1->shard_shift;
    s->l1 = l1;
    slab_init(&s->slab, l1->pool);
    list_init(&s->pending);
    wheel_init(s, clock_now_ms());
    if (!table_init(s)) {
        return false;
    }
    shard_set_policy(s, policy);
    return true;
}

struct l1 *l1_create(const struct l1_options *o) {
    CHECK(o->shards > 0 && (o->shards & (o->shards - 1)) == 0);
    const struct policy *policy = policy_find(o->policy);
    CHECK(policy != NULL);
    struct l1 *l1 = mem_zalloc(sizeof(*l1));
    l1->shard_count = o->shards;
    l1->shard_shift = (unsigned)__builtin_ctz(o->shards);
    l1->hooks = o->hooks;
    l1->pool = chunk_pool_create();
    l1->groups = mem_zalloc(L1_GROUPS * sizeof(*l1->groups));
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        l1->db_map[i] = (uint8_t)i;
    }
    atomic_init(&l1->limit_bytes, o->limit_bytes);
    atomic_init(&l1->policy, policy);
    atomic_init(&l1->active_expire, true);
    size_t n = o->shards * sizeof(struct shard);
    l1->shard_memory = mem_zalloc(n + 64);
    l1->shards = (struct shard *)(((uintptr_t)l1->shard_memory + 63) & ~(uintptr_t)63);
    for (unsigned i = 0; i < o->shards; i++) {
        CHECK(shard_init(&l1->shards[i], l1, i, policy));
    }
    return l1;
}

static void free_heap_part(unsigned char *it) {
    if (item_is(it, ITEM_LONG_KEY)) {
        mem_free(item_pointer(it + item_key_offset(it)));
    }
    if (item_is(it, ITEM_HEAP)) {
        void *p = item_pointer(item_value_at(it));
        if (item_type(it) == TYPE_STRING) {
            blob_unref(p);
        } else {
            value_unref(p);
        }
    }
}

static void shard_fini(struct shard *s) {
    for (uint32_t i = 0; i < s->buckets; i++) {
        for (struct bucket *b = shard_bucket(s, i); b != NULL; b = bucket_next(s, b)) {
            for (int k = 0; k < bucket_slots(b); k++) {
                if (b->handle[k] != 0) {
                    free_heap_part(slab_at(&s->slab, b->handle[k]));
                }
            }
        }
    }
    shard_set_policy(s, NULL);
    quota_fini(s);
    while (shard_free_pending(s, SIZE_MAX)) {
    }
    table_fini(s);
    slab_fini(&s->slab);
}

void l1_destroy(struct l1 **lp) {
    struct l1 *l1 = *lp;
    *lp = NULL;
    for (unsigned i = 0; i < l1->shard_count; i++) {
        shard_fini(&l1->shards[i]);
    }
    chunk_pool_destroy(&l1->pool);
    mem_free(l1->groups);
    mem_free(l1->shard_memory);
    mem_free(l1);
}

/* ---- items ---- */

size_t shard_item_bytes(const struct shard *s, uint32_t handle) {
    const unsigned char *it = slab_at(&s->slab, handle);
    size_t n = slab_class_size(&s->slab, slab_class_at(&s->slab, handle));
    if (item_is(it, ITEM_LONG_KEY)) {
        n += item_key(it).n;
    }
    if (item_is(it, ITEM_HEAP)) {
        const void *p = item_pointer(item_value_at(it));
        n += item_type(it) == TYPE_STRING ? ((const struct blob *)p)->size : value_bytes(p);
    }
    return n;
}

static size_t heap_part(const struct shard *s, uint32_t handle) {
    return shard_item_bytes(s, handle) - slab_class_size(&s->slab, slab_class_at(&s->slab, handle));
}

/* What the item has on the heap takes so many bytes more, or less. */
static void heap_changed(struct shard *s, const unsigned char *it, int64_t more) {
    s->heap_bytes += (uint64_t)more;
    if (unlikely(item_group(it) != 0)) {
        quota_resize(s, it, more);
    }
}

/* One key less, as DBSIZE counts. */
static void uncount(struct shard *s, const unsigned char *it) {
    atomic_fetch_sub_explicit(&s->db_keys[it[1]], 1, memory_order_relaxed);
    if (item_is(it, ITEM_TTL)) {
        atomic_fetch_sub_explicit(&s->db_expires[it[1]], 1, memory_order_relaxed);
    }
}

void shard_lapse(struct shard *s, const struct key *key) {
    atomic_fetch_add_explicit(&s->expired, 1, memory_order_relaxed);
    if (s->l1->hooks.lapsed != NULL) {
        s->l1->hooks.lapsed(s->l1->hooks.ctx, key);
    }
}

void shard_rest(struct shard *s, const struct key *key, unsigned char *it) {
    if (item_is_resting(it)) {
        return;
    }
    uncount(s, it);
    item_set_resting(it);
    shard_lapse(s, key);
    if (s->l1->purging) { /* a soft purge may have ended it, long before its own deadline brings anybody here */
        wheel_schedule(s, shard_index(s, key->hash), shard_rest_end(s, key, it));
    }
}

/* The item's counters and block go; its place is the caller's business. */
static void drop_item(struct shard *s, uint64_t hash, uint32_t handle, uint8_t meta, bool evicted) {
    unsigned char *it = slab_at(&s->slab, handle);
    size_t bytes = shard_item_bytes(s, handle);
    s->policy->remove(s, hash, handle, meta, bytes, evicted);
    s->heap_bytes -= heap_part(s, handle);
    if (unlikely(item_group(it) != 0)) {
        quota_leave(s, it, bytes);
    }
    if (likely(!item_is_resting(it))) {
        uncount(s, it);
    }
    s->ttl_items -= item_is(it, ITEM_TTL) ? 1 : 0;
    if (unlikely(meta & META_SAME)) {
        atomic_fetch_sub_explicit(&s->db_same[it[1]], 1, memory_order_relaxed);
    }
    s->items--;
    if (!shard_defer_free(s, it)) {
        free_heap_part(it);
    }
    slab_free(&s->slab, handle);
}

void shard_remove_as(struct shard *s, uint64_t hash, struct place at, bool evicted) {
    drop_item(s, hash, at.bucket->handle[at.slot], at.bucket->meta[at.slot], evicted);
    table_clear(s, hash, at);
    shard_publish(s);
}

void shard_remove(struct shard *s, const struct key *key, struct place at) {
    shard_remove_as(s, key->hash, at, false);
}

static void view_of(const unsigned char *it, struct item_view *out) {
    struct item_view v = {.type = item_type(it), .raw = item_is(it, ITEM_RAW), .written = item_written(it), .expire_ms = item_expire(it), .extra = item_extra_bytes(it)};
    unsigned char *p = item_value_at(it);
    if (likely(!item_is(it, ITEM_HEAP))) {
        v.str = slice_make(p, item_value_len(it));
    } else if (v.type == TYPE_STRING) {
        v.blob = item_pointer(p);
        v.str = slice_make(v.blob->bytes, v.blob->n);
    } else {
        v.value = item_pointer(p);
        v.str = slice_make("", 0);
    }
    *out = v; /* at once: for all the compiler knows, each store through out changes the item */
}

void shard_view(const struct shard *s, uint32_t handle, struct item_view *out) {
    view_of(slab_at(&s->slab, handle), out);
}

static struct shard *shard_of(struct l1 *l1, const struct key *key) {
    struct shard *s = &l1->shards[l1_shard_of(l1, key->hash)];
    lock_assert_held(&s->lock);
    return s;
}

enum standing { GONE, RESTING, LIVE };

/* Its deadline, or an earlier soft purge; INT64_MAX: none; INT64_MIN: it is purged. */
static int64_t soft_of(const struct l1 *l1, const struct key *key, const unsigned char *it) {
    int64_t own = item_is(it, ITEM_TTL) ? item_expire(it) : INT64_MAX;
    return unlikely(l1->purging) ? l1->hooks.deadline(l1->hooks.ctx, key, own, item_extra_bytes(it)) : own;
}

/* How an item with a deadline, or while a purge is on, stands now. */
static enum standing standing_of(const struct l1 *l1, const struct key *key, const unsigned char *it, int64_t now_ms) {
    int64_t soft = soft_of(l1, key, it);
    bool resting = item_is_resting(it); /* of loops whose clocks differ by a moment, the first to see it past its deadline decides */
    if (likely(soft > now_ms && !resting)) {
        return LIVE;
    }
    struct item_extra e = {0};
    bool grace = soft != INT64_MIN && item_has_extra(it) && item_extra_get(item_extra_bytes(it), &e) && e.grace_ms != 0;
    return grace && soft + (int64_t)e.grace_ms > now_ms ? RESTING : GONE;
}

int64_t shard_rest_end(const struct shard *s, const struct key *key, const unsigned char *it) {
    struct item_extra e = {0};
    int64_t soft = soft_of(s->l1, key, it);
    item_extra_get(item_extra_bytes(it), &e);
    return soft == INT64_MIN || soft == INT64_MAX ? 0 : soft + (int64_t)e.grace_ms;
}

bool shard_is_live(const struct shard *s, const struct key *key, const unsigned char *it, int64_t now_ms) {
    return standing_of(s->l1, key, it, now_ms) == LIVE;
}

bool shard_is_gone(struct shard *s, const struct key *key, unsigned char *it, int64_t now_ms) {
    enum standing standing = standing_of(s->l1, key, it, now_ms);
    if (standing == RESTING) {
        shard_rest(s, key, it);
    }
    return standing == GONE;
}

/* Of an item with a deadline, or while a purge is on: in its grace it rests from now on, past that it is removed. */
static enum standing settle_item(struct shard *s, const struct key *key, int64_t now_ms, const struct place *at) {
    unsigned char *it = slab_at(&s->slab, at->bucket->handle[at->slot]);
    enum standing standing = standing_of(s->l1, key, it, now_ms);
    if (likely(standing == LIVE)) {
        return LIVE;
    }
    if (standing == RESTING) {
        shard_rest(s, key, it);
        return RESTING;
    }
    if (s->l1->hooks.expired != NULL) {
        struct item_view view;
        view_of(it, &view);
        s->l1->hooks.expired(s->l1->hooks.ctx, key, &view);
    }
    if (!item_is_resting(it)) {
        shard_lapse(s, key);
    }
    shard_remove(s, key, *at);
    return GONE;
}

/* Finds the key's item: a live one, or one in its grace, which then rests; one past that is removed now. */
static inline enum standing find_item(struct shard *s, const struct key *key, int64_t now_ms, struct place *at) {
    s->stamp = item_stamp(now_ms);
    if (!table_find(s, key, at)) {
        return GONE;
    }
    bool plain = likely(!(at->bucket->meta[at->slot] & META_TTL) && !s->l1->purging);
    return plain ? LIVE : settle_item(s, key, now_ms, at);
}

/* For those who write: the key's live item. One in its grace goes: it is about to be replaced, or deleted. */
static bool find_live(struct shard *s, const struct key *key, int64_t now_ms, struct place *at) {
    enum standing standing = find_item(s, key, now_ms, at);
    if (unlikely(standing == RESTING)) {
        shard_remove(s, key, *at);
    }
    return standing == LIVE;
}

bool l1_get(struct l1 *l1, const struct key *key, int64_t now_ms, unsigned flags,
            struct item_view *out) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    enum standing standing = find_item(s, key, now_ms, &at);
    if (standing != LIVE && (standing == GONE || !(flags & L1_STALE))) {
        return false;
    }
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    uint8_t meta = at.bucket->meta[at.slot];
    if (likely(!(flags & L1_NOTOUCH))) {
        if ((meta & s->hit_mask) != s->hit_value) {
            at.bucket->meta[at.slot] = s->policy->hit(s, meta);
        }
        if (unlikely(item_touched(it) != s->stamp)) { /* a hot item's line is written once a second at most */
            item_set_stamps(it, item_written(it), s->stamp);
        }
    }
    view_of(it, out);
    out->stale = standing == RESTING;
    if (unlikely(out->stale && l1->purging)) {
        out->expire_ms = soft_of(l1, key, it);
    }
    return true;
}

/* ---- writing ---- */

/* By the call that has the lock. */
static void note_written(const struct shard *s, unsigned char *it) {
    item_set_stamps(it, s->stamp, s->stamp);
}

/* What a new item will be made of. */
struct recipe {
    const struct key *key;
    enum value_type type;
    bool raw;
    int64_t expire_ms;
    size_t inline_len; /* bytes of value in the item */
    void *heap;        /* blob or value instead */
    struct slice extra; /* of the item it replaces, mostly */
};

static size_t extra_room(struct slice extra) {
    return extra.n > 0 ? 1 + extra.n : 0;
}

static size_t item_bytes_for(const struct key *key, bool ttl, struct slice extra, size_t value) {
    size_t k = key->name.n > ITEM_KEY_INLINE_MAX ? sizeof(void *) : key->name.n;
    return ITEM_HEAD + (ttl ? ITEM_TTL_BYTES : 0) + extra_room(extra) + k + value;
}

static bool fits_inline(const struct key *key, struct slice extra, size_t len) {
    return item_bytes_for(key, true, extra, len) <= SLAB_MAX;
}

/* A block with head, deadline and key written; the value's bytes are the caller's. 0: no memory. */
static uint32_t make_item(struct shard *s, const struct recipe *r) {
    bool ttl = r->expire_ms != L1_NO_TTL, is_long = r->key->name.n > ITEM_KEY_INLINE_MAX;
    size_t value = r->heap != NULL ? sizeof(void *) : r->inline_len;
    struct long_key *lk = NULL;
    if (is_long) {
        lk = mem_try_alloc(sizeof(*lk) + r->key->name.n);
        if (lk == NULL) {
            return 0;
        }
        lk->n = r->key->name.n;
        memcpy(lk->bytes, r->key->name.p, lk->n);
    }
    uint32_t h = slab_alloc(&s->slab, slab_class_of(item_bytes_for(r->key, ttl, r->extra, value)));
    if (h == 0) {
        mem_free(lk);
        return 0;
    }
    unsigned char *it = slab_at(&s->slab, h);
    it[0] = (unsigned char)((unsigned)r->type | (ttl ? ITEM_TTL : 0) | (is_long ? ITEM_LONG_KEY : 0) |
                            (r->heap != NULL ? ITEM_HEAP : 0) | (r->raw ? ITEM_RAW : 0));
    it[1] = r->key->db;
    it[3] = r->extra.n > 0 ? ITEM_EXTRA >> 8 : 0;
    item_set_value_len(it, value);
    it[4] = is_long ? sizeof(void *) : (unsigned char)r->key->name.n;
    note_written(s, it);
    if (ttl) {
        item_set_expire(it, r->expire_ms);
    }
    if (unlikely(r->extra.n > 0)) {
        item_put_extra(it, r->extra);
    }
    unsigned char *k = it + item_key_offset(it);
    if (is_long) {
        memcpy(k, &lk, sizeof(lk));
    } else {
        memcpy(k, r->key->name.p, r->key->name.n);
    }
    if (r->heap != NULL) {
        memcpy(item_value_at(it), &r->heap, sizeof(r->heap));
    }
    return h;
}

/* Takes back a made block that is in no table. keep: what it refers to is still the caller's. */
static void unmake(struct shard *s, uint32_t h, bool keep) {
    unsigned char *it = slab_at(&s->slab, h);
    if (keep) {
        it[0] &= (unsigned char)~ITEM_HEAP;
    }
    free_heap_part(it);
    slab_free(&s->slab, h);
}

/* Puts a made item in the table, in the place of the key's old one if any. False without memory for its place. */
static bool install(struct shard *s, const struct key *key, uint32_t h, const struct place *old) {
    struct place at;
    if (old == NULL && !table_make_place(s, key->hash, &at)) {
        return false;
    }
    unsigned char *it = slab_at(&s->slab, h);
    size_t bytes = shard_item_bytes(s, h);
    unsigned group = 0;
    if (old != NULL) {
        at = *old;
        uint32_t before = at.bucket->handle[at.slot];
        uint8_t meta = at.bucket->meta[at.slot];
        group = item_group(slab_at(&s->slab, before));
        it[0] |= *(const unsigned char *)slab_at(&s->slab, before) & ITEM_ALONE;
        drop_item(s, key->hash, before, meta, false);
    }
    uint8_t bits = s->policy->insert(s, key->hash, h, bytes);
    table_put(at, key->hash, h, (uint8_t)(bits | (item_is(it, ITEM_TTL) ? META_TTL : 0)));
    s->items++;
    s->heap_bytes += heap_part(s, h);
    if (unlikely(s->l1->grouping)) {
        quota_join(s, key->hash, it, bytes, group);
    }
    atomic_fetch_add_explicit(&s->db_keys[it[1]], 1, memory_order_relaxed);
    if (item_is(it, ITEM_TTL)) {
        atomic_fetch_add_explicit(&s->db_expires[it[1]], 1, memory_order_relaxed);
        s->ttl_items++;
        wheel_schedule(s, shard_index(s, key->hash), item_expire(it));
    }
    if (old == NULL) {
        atomic_store_explicit(&s->inserted,
                              atomic_load_explicit(&s->inserted, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        table_grow(s);
    }
    return true;
}

static void wrote(struct shard *s, const struct key *key) {
    flight_overtake(&s->flights, key);
    watch_touch(&s->watches, key);
    shard_publish(s);
}

/* What a written item has noted from the start: what the old one had. */
static struct slice first_extra(struct shard *s, const struct key *key, const struct place *old) {
    if (old != NULL) {
        return item_extra_bytes(slab_at(&s->slab, old->bucket->handle[old->slot]));
    }
    return unlikely(s->l1->purging) ? slice_make(s->newborn, s->l1->hooks.newborn(s->l1->hooks.ctx, key, s->newborn)) : slice_make(NULL, 0);
}

static int64_t kept_deadline(struct shard *s, const struct place *old, int64_t expire_ms) {
    if (expire_ms != L1_KEEP_TTL) {
        return expire_ms;
    }
    return old == NULL ? L1_NO_TTL
                       : item_expire(slab_at(&s->slab, old->bucket->handle[old->slot]));
}

/* Whether a string so long can be written over the item: a plain inline string whose block stays the same size. */
static bool fits_in_place(const struct shard *s, const struct key *key, struct place at, size_t len, bool ttl) {
    uint32_t h = at.bucket->handle[at.slot];
    const unsigned char *it = slab_at(&s->slab, h);
    struct slice extra = item_extra_bytes(it);
    return item_type(it) == TYPE_STRING && !item_is(it, ITEM_HEAP) && item_is(it, ITEM_TTL) == ttl && fits_inline(key, extra, len) &&
           slab_class_of(item_bytes_for(key, ttl, extra, len)) == slab_class_at(&s->slab, h);
}

/* The common overwrite. */
static bool overwrite_in_place(struct shard *s, const struct key *key, struct place at,
                               struct slice value, int64_t expire_ms, unsigned flags) {
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    bool ttl = expire_ms != L1_NO_TTL;
    if (!fits_in_place(s, key, at, value.n, ttl)) {
        return false;
    }
    if (value.n > 0) {
        memmove(item_value_at(it), value.p, value.n); /* value may be the item's own */
    }
    item_set_value_len(it, value.n);
    it[0] = (unsigned char)((it[0] & ~ITEM_RAW) | (flags & L1_RAW ? ITEM_RAW : 0));
    if (ttl) {
        item_set_expire(it, expire_ms);
        wheel_schedule(s, shard_index(s, key->hash), expire_ms);
    }
    note_written(s, it);
    at.bucket->seq++;
    return true;
}

/* Stores what is on the heap; the reference is the item's on success. */
static enum err set_heap(struct shard *s, struct recipe *r, struct place *old) {
    r->expire_ms = kept_deadline(s, old, r->expire_ms);
    r->extra = first_extra(s, r->key, old);
    uint32_t h = make_item(s, r);
    if (h == 0) {
        return ERR_OUT_OF_MEMORY;
    }
    if (!install(s, r->key, h, old)) {
        unmake(s, h, true);
        return ERR_OUT_OF_MEMORY;
    }
    wrote(s, r->key);
    return OK;
}

/* A block for a string, with its bytes copied, or around r->heap. 0: no memory, and r->heap is still the caller's. */
static uint32_t make_string(struct shard *s, struct recipe *r, struct slice value) {
    struct blob *copy = NULL;
    if (r->heap == NULL && !fits_inline(r->key, r->extra, value.n)) {
        r->heap = copy = blob_create(value.n);
        if (copy == NULL) {
            return 0;
        }
        memcpy(copy->bytes, value.p, value.n);
    }
    r->inline_len = value.n;
    uint32_t h = make_item(s, r);
    if (h == 0) {
        if (copy != NULL) {
            blob_unref(copy);
        }
        return 0;
    }
    if (r->heap == NULL && value.n > 0) {
        memcpy(item_value_at(slab_at(&s->slab, h)), value.p, value.n);
    }
    return h;
}

enum err l1_set(struct l1 *l1, const struct key *key, struct slice value, int64_t expire_ms,
                unsigned flags, int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at, *old = find_live(s, key, now_ms, &at) ? &at : NULL;
    expire_ms = kept_deadline(s, old, expire_ms);
    if (old != NULL && overwrite_in_place(s, key, at, value, expire_ms, flags)) {
        wrote(s, key);
        return OK;
    }
    struct recipe r = {.key = key, .type = TYPE_STRING, .raw = flags & L1_RAW, .expire_ms = expire_ms, .extra = first_extra(s, key, old)};
    uint32_t h = make_string(s, &r, value);
    if (h == 0) {
        return ERR_OUT_OF_MEMORY;
    }
    if (!install(s, key, h, old)) {
        unmake(s, h, false);
        return ERR_OUT_OF_MEMORY;
    }
    wrote(s, key);
    return OK;
}

enum err l1_set_blob(struct l1 *l1, const struct key *key, struct blob *blob, int64_t expire_ms, unsigned flags,
                     int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at, *old = find_live(s, key, now_ms, &at) ? &at : NULL;
    struct recipe r = {.key = key, .type = TYPE_STRING, .raw = flags & L1_RAW, .expire_ms = expire_ms, .heap = blob};
    CHECK(!fits_inline(key, first_extra(s, key, old), blob->n));
    return set_heap(s, &r, old);
}

enum err l1_set_value(struct l1 *l1, const struct key *key, struct value *value, int64_t expire_ms,
                      int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at, *old = find_live(s, key, now_ms, &at) ? &at : NULL;
    struct recipe r = {.key = key, .type = (enum value_type)value->type, .expire_ms = expire_ms, .heap = value};
    return set_heap(s, &r, old);
}

/* ---- several strings, all or none ---- */

enum err l1_ready(struct l1 *l1, const struct key *key, struct slice value, struct blob *blob, bool made, int64_t now_ms,
                  struct l1_ready *out) {
    struct shard *s = shard_of(l1, key);
    struct place at, *old = find_live(s, key, now_ms, &at) ? &at : NULL;
    if (old != NULL && blob == NULL && !made && fits_in_place(s, key, at, value.n, false)) {
        *out = (struct l1_ready){.how = READY_IN_PLACE};
        return OK;
    }
    struct recipe r = {.key = key, .type = TYPE_STRING, .expire_ms = L1_NO_TTL, .heap = blob, .extra = first_extra(s, key, old)};
    uint32_t h = make_string(s, &r, value);
    if (h == 0) {
        return ERR_OUT_OF_MEMORY;
    }
    if (old == NULL && !install(s, key, h, NULL)) { /* a place in the table takes memory, too */
        unmake(s, h, blob != NULL);
        return ERR_OUT_OF_MEMORY;
    }
    *out = (struct l1_ready){.handle = h, .how = old == NULL ? READY_PLACED : READY_MADE};
    return OK;
}

void l1_ready_set(struct l1 *l1, const struct key *key, struct slice value, const struct l1_ready *ready) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (ready->how != READY_PLACED) {
        CHECK(table_find(s, key, &at));
        if (ready->how == READY_IN_PLACE) {
            CHECK(overwrite_in_place(s, key, at, value, L1_NO_TTL, 0));
        } else if (!item_is(slab_at(&s->slab, ready->handle), ITEM_HEAP) && overwrite_in_place(s, key, at, value, L1_NO_TTL, 0)) {
            unmake(s, ready->handle, false);
        } else {
            CHECK(install(s, key, ready->handle, &at));
        }
    }
    wrote(s, key);
}

void l1_ready_undo(struct l1 *l1, const struct key *key, const struct l1_ready *ready) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (ready->how == READY_PLACED) {
        CHECK(table_find(s, key, &at));
        shard_remove(s, key, at);
    } else if (ready->how == READY_MADE) {
        unmake(s, ready->handle, false);
    }
}

/* The blob of an item for writing, at len bytes: in place when nobody shares it. NULL without memory. */
static struct blob *blob_for_writing(struct blob *b, size_t len) {
    if (atomic_load_explicit(&b->refs, memory_order_acquire) == 1 && (b->memory == NULL || len <= b->n)) {
        size_t before = b->n;
        if (len > before && mem_usable(b) < sizeof(*b) + len) {
            size_t room = len + len / 8; /* an APPEND is rarely the last */
            struct blob *grown = mem_try_realloc(b, sizeof(*b) + room);
            grown = grown == NULL ? mem_try_realloc(b, sizeof(*b) + len) : grown;
            if (grown == NULL) {
                return NULL;
            }
            b = grown;
            b->bytes = (char *)(b + 1);
        }
        if (len > before) {
            memset(b->bytes + before, 0, len - before);
        }
        b->n = len;
        b->size = b->memory == NULL ? len : b->size;
        return b;
    }
    struct blob *copy = blob_create(len);
    if (copy == NULL) {
        return NULL;
    }
    size_t keep = b->n < len ? b->n : len;
    memcpy(copy->bytes, b->bytes, keep);
    memset(copy->bytes + keep, 0, len - keep);
    blob_unref(b);
    return copy;
}

static enum err mutate_blob(struct shard *s, const struct key *key, uint32_t h, size_t len, char **out) {
    unsigned char *it = slab_at(&s->slab, h);
    struct blob *b = item_pointer(item_value_at(it));
    size_t before = b->size;
    b = blob_for_writing(b, len);
    if (b == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    memcpy(item_value_at(it), &b, sizeof(b));
    note_written(s, it);
    it[0] |= ITEM_RAW;
    heap_changed(s, it, (int64_t)b->size - (int64_t)before);
    *out = b->bytes;
    wrote(s, key);
    return OK;
}

enum err l1_string_mut(struct l1 *l1, const struct key *key, size_t len, int64_t now_ms, char **out) {
    struct shard *s = shard_of(l1, key);
    struct place at, *old = find_live(s, key, now_ms, &at) ? &at : NULL;
    if (old != NULL && item_is(slab_at(&s->slab, at.bucket->handle[at.slot]), ITEM_HEAP)) {
        return mutate_blob(s, key, at.bucket->handle[at.slot], len, out);
    }
    struct recipe r = {.key = key, .type = TYPE_STRING, .raw = true, .inline_len = len};
    struct slice before = slice_make("", 0);
    r.expire_ms = kept_deadline(s, old, L1_KEEP_TTL);
    r.extra = first_extra(s, key, old);
    if (old != NULL) {
        unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
        before = slice_make(item_value_at(it), item_value_len(it));
        bool ttl = item_is(it, ITEM_TTL);
        if (fits_inline(key, r.extra, len) &&
            slab_class_of(item_bytes_for(key, ttl, r.extra, len)) == slab_class_at(&s->slab, at.bucket->handle[at.slot])) {
            char *p = (char *)item_value_at(it);
            if (len > before.n) {
                memset(p + before.n, 0, len - before.n);
            }
            item_set_value_len(it, len);
            note_written(s, it);
            it[0] |= ITEM_RAW;
            *out = p;
            wrote(s, key);
            return OK;
        }
    }
    if (!fits_inline(key, r.extra, len)) {
        struct blob *b = blob_create(len);
        if (b == NULL) {
            return ERR_OUT_OF_MEMORY;
        }
        r.heap = b;
    }
    uint32_t h = make_item(s, &r);
    if (h == 0) {
        if (r.heap != NULL) {
            blob_unref(r.heap);
        }
        return ERR_OUT_OF_MEMORY;
    }
    unsigned char *it = slab_at(&s->slab, h);
    char *p = r.heap != NULL ? ((struct blob *)r.heap)->bytes : (char *)item_value_at(it);
    size_t keep = before.n < len ? before.n : len;
    memcpy(p, before.p, keep);
    memset(p + keep, 0, len - keep);
    if (!install(s, key, h, old)) {
        unmake(s, h, false);
        return ERR_OUT_OF_MEMORY;
    }
    *out = p;
    wrote(s, key);
    return OK;
}

void l1_string_raw(struct l1 *l1, const struct key *key) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    CHECK(table_find(s, key, &at));
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    it[0] |= ITEM_RAW;
}

enum l1_below shard_below(const struct shard *s, struct place at) {
    if (at.bucket->meta[at.slot] & META_SAME) {
        return L1_BELOW_SAME;
    }
    return item_is(slab_at(&s->slab, at.bucket->handle[at.slot]), ITEM_ALONE) ? L1_BELOW_ABSENT : L1_BELOW_UNKNOWN;
}

enum l1_below l1_below(const struct l1 *l1, const struct key *key) {
    const struct shard *s = shard_of((struct l1 *)(uintptr_t)l1, key);
    struct place at;
    return table_find(s, key, &at) ? shard_below(s, at) : L1_BELOW_UNKNOWN;
}

void l1_set_below(struct l1 *l1, const struct key *key, enum l1_below below) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    CHECK(table_find(s, key, &at));
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    uint8_t *meta = &at.bucket->meta[at.slot];
    bool was = *meta & META_SAME, same = below == L1_BELOW_SAME;
    it[0] = (unsigned char)(below == L1_BELOW_ABSENT ? it[0] | ITEM_ALONE : it[0] & ~ITEM_ALONE);
    *meta = (uint8_t)(same ? *meta | META_SAME : *meta & ~META_SAME);
    if (was != same) {
        atomic_fetch_add_explicit(&s->db_same[it[1]], same ? 1 : (uint32_t)-1, memory_order_relaxed);
    }
}

struct value *l1_value_mut(struct l1 *l1, const struct key *key) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    CHECK(table_find(s, key, &at));
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    struct value *v = item_pointer(item_value_at(it));
    if (atomic_load_explicit(&v->refs, memory_order_acquire) > 1 && !value_in_place(v)) {
        struct value *copy = value_dup(v);
        if (copy == NULL) {
            return NULL;
        }
        heap_changed(s, it, (int64_t)value_bytes(copy) - (int64_t)value_bytes(v));
        value_unref(v);
        memcpy(item_value_at(it), &copy, sizeof(copy));
        v = copy;
    }
    /* out of the sum until l1_value_changed knows the new size */
    heap_changed(s, it, -(int64_t)value_bytes(v));
    return v;
}

void l1_value_kept(struct l1 *l1, const struct key *key) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    CHECK(table_find(s, key, &at));
    const unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    heap_changed(s, it, (int64_t)value_bytes(item_pointer(item_value_at(it))));
}

size_t l1_value_changed(struct l1 *l1, const struct key *key) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    CHECK(table_find(s, key, &at));
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    struct value *v = item_pointer(item_value_at(it));
    size_t bytes = value_bytes(v);
    heap_changed(s, it, (int64_t)bytes);
    note_written(s, it);
    if (value_len(v) == 0) {
        shard_remove(s, key, at);
        bytes = 0;
    }
    wrote(s, key);
    return bytes;
}

bool l1_del(struct l1 *l1, const struct key *key, int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (!find_live(s, key, now_ms, &at)) {
        flight_overtake(&s->flights, key); /* absent here may still be on its way */
        return false;
    }
    shard_remove(s, key, at);
    wrote(s, key);
    return true;
}

void l1_del_below(struct l1 *l1, const struct key *key) {
    wrote(shard_of(l1, key), key);
}

static bool change_layout(struct shard *s, const struct key *key, struct place at, int64_t expire_ms, struct slice extra);

bool l1_expire(struct l1 *l1, const struct key *key, int64_t expire_ms, int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (!find_live(s, key, now_ms, &at)) {
        return false;
    }
    uint32_t h = at.bucket->handle[at.slot];
    unsigned char *it = slab_at(&s->slab, h);
    bool had = item_is(it, ITEM_TTL), wants = expire_ms != L1_NO_TTL;
    if (had && wants) {
        item_set_expire(it, expire_ms);
        wheel_schedule(s, shard_index(s, key->hash), expire_ms);
    } else if (had != wants && !change_layout(s, key, at, expire_ms, item_extra_bytes(it))) {
        return false; /* no memory: the old deadline stands */
    }
    wrote(s, key);
    return true;
}

/* Moves an item to a block with room for another deadline and other extras; policy state and heap part move along. False
 * without memory, or when it would be too long. */
static bool change_layout(struct shard *s, const struct key *key, struct place at, int64_t expire_ms, struct slice extra) {
    uint32_t from = at.bucket->handle[at.slot];
    const unsigned char *it = slab_at(&s->slab, from);
    bool ttl = expire_ms != L1_NO_TTL, had = item_is(it, ITEM_TTL);
    size_t key_and_value = (size_t)(item_value_at(it) - (it + item_key_offset(it))) + item_value_len(it);
    size_t bytes = ITEM_HEAD + (ttl ? ITEM_TTL_BYTES : 0) + extra_room(extra) + key_and_value;
    uint32_t to = bytes <= SLAB_MAX ? slab_alloc(&s->slab, slab_class_of(bytes)) : 0;
    if (to == 0) {
        return false;
    }
    unsigned char *copy = slab_at(&s->slab, to);
    it = slab_at(&s->slab, from);
    memcpy(copy, it, ITEM_HEAD);
    copy[0] = (unsigned char)(ttl ? it[0] | ITEM_TTL : it[0] & ~ITEM_TTL);
    copy[3] = (unsigned char)((it[3] & ~(ITEM_EXTRA >> 8)) | (extra.n > 0 ? ITEM_EXTRA >> 8 : 0));
    if (ttl) {
        item_set_expire(copy, expire_ms);
    }
    if (extra.n > 0) {
        item_put_extra(copy, extra);
    }
    memcpy(copy + item_key_offset(copy), it + item_key_offset(it), key_and_value);
    uint8_t meta = at.bucket->meta[at.slot];
    s->policy->remove(s, key->hash, from, meta, shard_item_bytes(s, from), false);
    uint8_t bits = s->policy->insert(s, key->hash, to, shard_item_bytes(s, to));
    if (unlikely(item_group(copy) != 0)) {
        quota_resize(s, copy, (int64_t)shard_item_bytes(s, to) - (int64_t)shard_item_bytes(s, from));
    }
    slab_free(&s->slab, from);
    table_put(at, key->hash, to, (uint8_t)(bits | (meta & ~(META_POLICY | META_TTL)) | (ttl ? META_TTL : 0)));
    if (ttl != had) {
        s->ttl_items += ttl ? 1 : (uint32_t)-1;
        atomic_fetch_add_explicit(&s->db_expires[copy[1]], ttl ? 1 : (uint32_t)-1, memory_order_relaxed);
    }
    if (ttl) {
        wheel_schedule(s, shard_index(s, key->hash), expire_ms);
    }
    return true;
}

/* An inline string whose extras leave it no room becomes a blob. */
static bool extra_beside_blob(struct shard *s, const struct key *key, struct place at, struct slice extra) {
    const unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    if (item_is(it, ITEM_HEAP) || item_type(it) != TYPE_STRING) {
        return false;
    }
    struct blob *blob = blob_create(item_value_len(it));
    struct recipe r = {.key = key, .type = TYPE_STRING, .raw = item_is(it, ITEM_RAW), .expire_ms = item_expire(it), .heap = blob, .extra = extra};
    if (blob == NULL) {
        return false;
    }
    memcpy(blob->bytes, item_value_at(it), blob->n);
    uint8_t same = at.bucket->meta[at.slot] & META_SAME;
    uint32_t h = make_item(s, &r);
    if (h == 0) {
        blob_unref(blob);
        return false;
    }
    item_set_stamps(slab_at(&s->slab, h), item_written(it), item_touched(it));
    install(s, key, h, &at); /* in the place of the old one: needs no memory */
    at.bucket->meta[at.slot] |= same;
    if (same) {
        atomic_fetch_add_explicit(&s->db_same[key->db], 1, memory_order_relaxed);
    }
    return true;
}

bool l1_set_extra(struct l1 *l1, const struct key *key, struct slice extra, int64_t now_ms) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (find_item(s, key, now_ms, &at) != LIVE) {
        return true;
    }
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    struct slice old = item_extra_bytes(it);
    if (old.n == extra.n) {
        if (extra.n > 0) {
            item_put_extra(it, extra);
        }
        return true;
    }
    bool ok = change_layout(s, key, at, item_expire(it), extra) || extra_beside_blob(s, key, at, extra);
    shard_publish(s);
    return ok;
}

void l1_purging(struct l1 *l1, bool on) {
    l1->purging = on;
    atomic_fetch_add_explicit(&l1->flush_generation, 1, memory_order_relaxed);
    for (unsigned i = 0; i < l1->shard_count; i++) {
        l1->shards[i].sweep_bucket = 0;
        flight_overtake_all(&l1->shards[i].flights);
    }
}

bool l1_info(struct l1 *l1, const struct key *key, int64_t now_ms, struct item_info *out) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (find_item(s, key, now_ms, &at) != LIVE) {
        return false;
    }
    uint8_t bits = at.bucket->meta[at.slot] & META_POLICY;
    out->bytes = shard_item_bytes(s, at.bucket->handle[at.slot]) + sizeof(struct bucket) / 8;
    out->freq = bits;
    const unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    out->idle_ms = item_stamp_age(item_touched(it), now_ms);
    out->age_ms = item_stamp_age(item_written(it), now_ms);
    out->expire_ms = item_expire(it);
    return true;
}

void l1_set_stamps(struct l1 *l1, const struct key *key, uint32_t written, uint32_t touched) {
    struct shard *s = shard_of(l1, key);
    struct place at;
    if (!table_find(s, key, &at)) {
        return; /* a RESTORE whose deadline is over leaves none */
    }
    unsigned char *it = slab_at(&s->slab, at.bucket->handle[at.slot]);
    item_set_stamps(it, written != 0 ? written : item_written(it), touched != 0 ? touched : item_touched(it));
}
