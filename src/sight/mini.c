/* SPDX-License-Identifier: BSD-3-Clause */
/* mini: sizes, and a tier of one shard. */
#include "src/sight/mini.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/l1/l1.h"

enum {
    NAME_BYTES = 5,    /* of the hash, from the top: with a deadline and the reference, a block of 24 */
    MAGNIFY = 64,      /* sizes are so much larger: what the miniature itself takes, and the steps in which it counts, vanish */
    STEPS = 16,        /* sizes within a factor of two */
    SIZES = 48 * STEPS,
    SEEMING = 1 << 20, /* the length that blobs claim: any that is kept outside the slab */
    VICTIMS = 16,
    ROUNDS = 64,       /* of eviction for one write */
    TICK_US = 200
};

struct mini_sizes {
    struct blob *at[SIZES]; /* NULL until wanted */
};

struct mini {
    struct l1 *l1;
    struct mini_sizes *sizes;
    unsigned most;
    void (*evicted)(void *ctx, const struct mini_access *a);
    void *ctx;
};

/* ---- sizes ---- */

struct mini_sizes *mini_sizes_create(void) {
    return mem_zalloc(sizeof(struct mini_sizes));
}

void mini_sizes_destroy(struct mini_sizes **s) {
    for (unsigned i = 0; i < SIZES; i++) {
        if ((*s)->at[i] != NULL) {
            blob_unref((*s)->at[i]);
        }
    }
    mem_free(*s);
    *s = NULL;
}

/* A blob of about that size, within a thirty-second; a reference of the caller's. NULL without memory. */
static struct blob *size_blob(struct mini_sizes *s, size_t bytes) {
    uint64_t n = (uint64_t)bytes * MAGNIFY;
    unsigned two = 63 - (unsigned)__builtin_clzll(n | 1), step = two >= 4 ? (unsigned)(n >> (two - 4)) & (STEPS - 1) : 0;
    unsigned at = two * STEPS + step < SIZES ? two * STEPS + step : SIZES - 1;
    if (s->at[at] == NULL) {
        size_t size = two >= 5 ? ((size_t)(2 * (STEPS + step) + 1) << (two - 5)) : n;
        s->at[at] = blob_adopt(NULL, size, slice_make(NULL, SEEMING));
    }
    return s->at[at] != NULL ? blob_ref(s->at[at]) : NULL;
}

/* ---- life ---- */

static struct key name_of(unsigned char name[NAME_BYTES], uint64_t hash) {
    for (unsigned i = 0; i < NAME_BYTES; i++) {
        name[i] = (unsigned char)(hash >> (56 - 8 * i));
    }
    return key_make(slice_make(name, NAME_BYTES), 0);
}

static uint64_t hash_of(struct slice name) {
    uint64_t hash = 0;
    for (unsigned i = 0; i < NAME_BYTES; i++) {
        hash |= (uint64_t)(unsigned char)name.p[i] << (56 - 8 * i);
    }
    return hash;
}

static void on_evicted(void *ctx, const struct key *key, const struct item_view *item, enum l1_below below, bool read) {
    struct mini *m = ctx;
    (void)below;
    (void)read;
    if (m->evicted != NULL) {
        m->evicted(m->ctx, &(struct mini_access){.hash = hash_of(key->name),
                                                 .bytes = item->blob->size / MAGNIFY,
                                                 .expire_ms = item->expire_ms});
    }
}

struct mini *mini_create(struct mini_sizes *sizes, const char *policy, unsigned most,
                         void (*evicted)(void *ctx, const struct mini_access *a), void *ctx) {
    struct mini *m = mem_zalloc(sizeof(*m));
    *m = (struct mini){.sizes = sizes, .most = most, .evicted = evicted, .ctx = ctx};
    m->l1 = l1_create(&(struct l1_options){.shards = 1, .policy = policy, .hooks = {.ctx = m, .evicted = on_evicted}});
    return m;
}

void mini_destroy(struct mini **m) {
    l1_destroy(&(*m)->l1);
    mem_free(*m);
    *m = NULL;
}

void mini_set_limit(struct mini *m, double bytes) {
    double limit = bytes * MAGNIFY;
    l1_set_limit(m->l1, limit < 1 ? 1 : limit < 4e18 ? (size_t)limit : SIZE_MAX / 4);
}

void mini_set_policy(struct mini *m, const char *policy) {
    l1_set_policy(m->l1, policy);
}

uint64_t mini_items(const struct mini *m) {
    return l1_db_keys(m->l1, 0);
}

size_t mini_bytes(const struct mini *m) {
    return l1_footprint(m->l1) + sizeof(*m);
}

/* ---- accesses; the one shard is locked ---- */

static void put(struct mini *m, const struct key *key, const struct mini_access *a, int64_t now_ms) {
    struct item_view v;
    struct blob *blob = size_blob(m->sizes, a->bytes);
    if (blob == NULL) {
        return;
    }
    bool there = l1_get(m->l1, key, now_ms, L1_NOTOUCH, &v);
    bool same = there && v.blob == blob && v.expire_ms == a->expire_ms;
    bool past = a->expire_ms != L1_NO_TTL && a->expire_ms <= now_ms;
    if (same || past || (!there && mini_items(m) >= m->most) ||
        l1_set_blob(m->l1, key, blob, a->expire_ms, 0, now_ms) != OK) {
        blob_unref(blob);
        return;
    }
    for (int i = 0; i < ROUNDS && l1_over_limit(m->l1); i++) {
        l1_make_room(m->l1, 0, VICTIMS, now_ms);
    }
}

bool mini_read(struct mini *m, const struct mini_access *a, int64_t now_ms) {
    unsigned char name[NAME_BYTES];
    struct key key = name_of(name, a->hash);
    struct item_view v;
    l1_lock(m->l1, 0);
    bool hit = l1_get(m->l1, &key, now_ms, L1_TOUCH, &v);
    if (!hit && a->bytes > 0) {
        put(m, &key, a, now_ms);
    }
    l1_unlock(m->l1, 0);
    return hit;
}

void mini_write(struct mini *m, const struct mini_access *a, int64_t now_ms) {
    unsigned char name[NAME_BYTES];
    struct key key = name_of(name, a->hash);
    l1_lock(m->l1, 0);
    put(m, &key, a, now_ms);
    l1_unlock(m->l1, 0);
}

void mini_remove(struct mini *m, uint64_t hash, int64_t now_ms) {
    unsigned char name[NAME_BYTES];
    struct key key = name_of(name, hash);
    l1_lock(m->l1, 0);
    l1_del(m->l1, &key, now_ms);
    l1_unlock(m->l1, 0);
}

/* ---- all of it ---- */

struct thinning {
    uint32_t below;
    uint64_t *gone;
    size_t n, cap;
};

static void look(void *ctx, const struct key *key, const struct item_view *item) {
    struct thinning *t = ctx;
    (void)item;
    uint64_t hash = hash_of(key->name);
    if (mini_draw(hash) >= t->below && t->n < t->cap) {
        t->gone[t->n++] = hash;
    }
}

void mini_thin(struct mini *m, uint32_t below, int64_t now_ms) {
    size_t cap = mini_items(m);
    struct thinning t = {.below = below, .gone = mem_alloc(cap * sizeof(*t.gone)), .cap = cap};
    uint64_t at = 0;
    do {
        at = l1_scan(m->l1, at, cap + 1, -1, now_ms, false, look, &t);
    } while (at != 0);
    for (size_t i = 0; i < t.n; i++) {
        mini_remove(m, t.gone[i], now_ms);
    }
    mem_free(t.gone);
}

void mini_tick(struct mini *m, int64_t now_ms) {
    l1_tick(m->l1, now_ms, TICK_US);
}
