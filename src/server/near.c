/* SPDX-License-Identifier: BSD-3-Clause */
/* near: the table of copies, and the epochs. */
#include "src/server/near.h"

#include "src/base/hash.h"
#include "src/base/list.h"
#include "src/base/mem.h"
#include "src/sight/topk.h"
#include "src/stats/stats.h"

enum {
    KEY_EPOCH_BITS = 18, /* a write drops the copies of one key in 262,144 besides its own */
    SLOTS = 16384,
    BUCKETS_MIN = 256,
    SHARE = 8,           /* a copy takes at most this part of the room */
    HALVE_US = 1000000
};

struct near_node {
    _Atomic uint32_t keys[1 << KEY_EPOCH_BITS]; /* untouched pages cost nothing */
    _Atomic uint32_t slots[SLOTS];
    _Atomic uint32_t all;
    _Atomic int64_t *copies, *bytes;
};

struct copy {
    struct list node;  /* oldest first */
    struct copy *next; /* of the bucket */
    const void *owner;
    uint64_t hash, name_hash, epoch;
    int64_t until_us;
    uint32_t hits, kind, what_n, reply_n;
    uint16_t slot;
    uint8_t db;
    char data[]; /* what, reply */
};

struct near {
    struct near_node *node;
    struct stats *stats;
    struct topk *reads; /* of keys there is no copy of */
    struct list copies;
    struct copy **buckets;
    size_t bucket_count, count, bytes, max_bytes;
    int64_t ttl_us, halved_us;
    uint64_t hot_reads;
    uint64_t since; /* counts what near_drop was called for */
};

/* ---- epochs ---- */

struct near_node *near_node_create(_Atomic int64_t *copies, _Atomic int64_t *bytes) {
    struct near_node *node = mem_zalloc(sizeof(*node));
    node->copies = copies;
    node->bytes = bytes;
    return node;
}

void near_node_destroy(struct near_node **node) {
    mem_free(*node);
    *node = NULL;
}

static unsigned place_of(uint64_t name_hash) {
    return (unsigned)(name_hash >> (64 - KEY_EPOCH_BITS));
}

void near_wrote_key(struct near_node *node, uint64_t name_hash) {
    atomic_fetch_add_explicit(&node->keys[place_of(name_hash)], 1, memory_order_release);
}

void near_wrote_slot(struct near_node *node, unsigned slot) {
    atomic_fetch_add_explicit(&node->slots[slot & (SLOTS - 1)], 1, memory_order_release);
}

void near_wrote_all(struct near_node *node) {
    atomic_fetch_add_explicit(&node->all, 1, memory_order_release);
}

/* Each part only grows, so the sum is another one when any has grown. */
static uint64_t epoch_of(const struct near_node *node, uint64_t name_hash, unsigned slot) {
    return (uint64_t)atomic_load_explicit(&node->keys[place_of(name_hash)], memory_order_acquire) +
           atomic_load_explicit(&node->slots[slot & (SLOTS - 1)], memory_order_acquire) +
           atomic_load_explicit(&node->all, memory_order_acquire);
}

/* ---- the table ---- */

static size_t bytes_of(const struct copy *c) {
    return sizeof(*c) + sizeof(struct copy *) + c->what_n + c->reply_n;
}

static void account(struct near *n, const struct copy *c, int sign) {
    int64_t bytes = (int64_t)bytes_of(c) * sign;
    n->count += (size_t)sign;
    n->bytes += (size_t)bytes;
    atomic_fetch_add_explicit(n->node->copies, sign, memory_order_relaxed);
    atomic_fetch_add_explicit(n->node->bytes, bytes, memory_order_relaxed);
}

static struct copy **bucket_of(const struct near *n, uint64_t hash) {
    return &n->buckets[hash & (n->bucket_count - 1)];
}

/* Where the pointer to the copy is, or to where it would be. */
static struct copy **find(const struct near *n, const struct near_key *k) {
    struct copy **at = bucket_of(n, k->hash);
    while (*at != NULL && !((*at)->hash == k->hash && (*at)->db == k->db && (*at)->kind == k->kind &&
                            slice_eq(slice_make((*at)->data, (*at)->what_n), k->what))) {
        at = &(*at)->next;
    }
    return at;
}

static void copy_free(struct near *n, struct copy *c) {
    struct copy **at = bucket_of(n, c->hash);
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    list_remove(&c->node);
    account(n, c, -1);
    mem_free(c);
}

static void resize(struct near *n, size_t count) {
    struct copy **old = n->buckets;
    n->buckets = mem_zalloc(count * sizeof(*n->buckets));
    n->bucket_count = count;
    for (struct list *at = n->copies.next; at != &n->copies; at = at->next) {
        struct copy *c = LIST_ENTRY(at, struct copy, node);
        struct copy **b = bucket_of(n, c->hash);
        c->next = *b;
        *b = c;
    }
    mem_free(old);
}

static struct copy *oldest(const struct near *n) {
    return list_empty(&n->copies) ? NULL : LIST_ENTRY(n->copies.next, struct copy, node);
}

/* A copy leaves; `early`: before its time was over. */
static void evict(struct near *n, struct copy *c, enum stat_eviction why, bool early) {
    copy_free(n, c);
    STAT_ADD(n->stats->tiers[STAT_L3].evictions[why], 1);
    STAT_ADD(n->stats->near_dropped, early);
}

/* The reply does not become a copy. */
static bool reject(struct near *n, enum stat_reject why) {
    STAT_ADD(n->stats->tiers[STAT_L3].rejects[why], 1);
    return false;
}

static void make_room(struct near *n, size_t bytes) {
    for (struct copy *c; (c = oldest(n)) != NULL && n->bytes + bytes > n->max_bytes;) {
        evict(n, c, EVICTION_memory, true);
    }
}

/* ---- life ---- */

struct near *near_create(struct near_node *node, struct stats *stats) {
    struct near *n = mem_zalloc(sizeof(*n));
    n->node = node;
    n->stats = stats;
    list_init(&n->copies);
    return n;
}

/* Those of the owner, or all (NULL). */
static void drop_all(struct near *n, const void *owner) {
    for (struct list *at = n->copies.next, *next; at != &n->copies; at = next) {
        struct copy *c = LIST_ENTRY(at, struct copy, node);
        next = at->next;
        if (owner == NULL || c->owner == owner) {
            evict(n, c, EVICTION_dropped, true);
        }
    }
}

void near_destroy(struct near **np) {
    struct near *n = *np;
    drop_all(n, NULL);
    if (n->reads != NULL) {
        topk_destroy(&n->reads);
    }
    mem_free(n->buckets);
    mem_free(n);
    *np = NULL;
}

bool near_is_on(const struct near *n) {
    return n->max_bytes > 0;
}

void near_configure(struct near *n, size_t max_bytes, int64_t ttl_us, uint64_t hot_reads) {
    n->max_bytes = ttl_us > 0 ? max_bytes : 0;
    if (ttl_us < n->ttl_us) { /* what is there was promised a longer life */
        drop_all(n, NULL);
    }
    n->ttl_us = ttl_us;
    n->hot_reads = hot_reads;
    n->since++;
    make_room(n, 0);
    if (near_is_on(n) && n->buckets == NULL) {
        resize(n, BUCKETS_MIN);
        n->reads = topk_create();
    }
}

/* ---- reads ---- */

static bool is_good(const struct near *n, const struct copy *c, const void *owner, int64_t now_us) {
    return c->owner == owner && now_us < c->until_us && c->epoch == epoch_of(n->node, c->name_hash, c->slot);
}

static bool is_hot(struct near *n, const struct near_key *k, uint32_t reads) {
    const struct key key = {k->what, k->hash, k->db};
    topk_add(n->reads, &key, reads);
    return topk_weight(n->reads, k->hash) >= n->hot_reads;
}

bool near_read(struct near *n, const struct near_key *k, const void *owner, bool may_use, int64_t now_us, struct slice *reply, bool *hot) {
    struct copy *c = *find(n, k);
    uint32_t reads = 1;
    if (c != NULL && is_good(n, c, owner, now_us)) {
        if (may_use) {
            c->hits++;
            *reply = slice_make(c->data + c->what_n, c->reply_n);
            return true;
        }
        *hot = true; /* what the owner says now takes its place */
        return false;
    }
    if (c != NULL) {
        reads += c->hits;
        bool early = now_us < c->until_us;
        evict(n, c, !early ? EVICTION_expired : c->owner != owner ? EVICTION_dropped : EVICTION_changed, early);
    }
    *hot = is_hot(n, k, reads);
    return *hot ? false : reject(n, REJECT_admission);
}

struct near_ticket near_ticket(const struct near *n, uint64_t name_hash, unsigned slot, int64_t now_us) {
    return (struct near_ticket){epoch_of(n->node, name_hash, slot), n->since, now_us};
}

static struct copy *copy_make(const struct near_key *k, struct slice reply) {
    struct copy *c = mem_try_alloc(sizeof(*c) + k->what.n + reply.n);
    if (c == NULL) {
        return NULL;
    }
    *c = (struct copy){.hash = k->hash,
                       .name_hash = k->name_hash,
                       .kind = k->kind,
                       .what_n = (uint32_t)k->what.n,
                       .reply_n = (uint32_t)reply.n,
                       .slot = k->slot,
                       .db = k->db};
    memcpy(c->data, k->what.p, k->what.n);
    memcpy(c->data + k->what.n, reply.p, reply.n);
    return c;
}

bool near_put(struct near *n, const struct near_key *k, const void *owner, const struct near_ticket *t, uint32_t keep_ms, struct slice reply,
              int64_t now_us) {
    if (!near_is_on(n)) {
        return false;
    }
    struct copy *before = *find(n, k);
    if (before != NULL) {
        copy_free(n, before);
    }
    int64_t keep_us = (int64_t)keep_ms * 1000 < n->ttl_us ? (int64_t)keep_ms * 1000 : n->ttl_us, until_us = t->sent_us + keep_us;
    size_t bytes = sizeof(struct copy) + sizeof(struct copy *) + k->what.n + reply.n;
    bool current = t->since == n->since && t->epoch == epoch_of(n->node, k->name_hash, k->slot);
    if (keep_ms == 0 || !current || now_us >= until_us || bytes > n->max_bytes / SHARE) {
        return reject(n, keep_ms == 0 ? REJECT_owner : !current ? REJECT_changed : now_us >= until_us ? REJECT_ttl : REJECT_size);
    }
    make_room(n, bytes);
    struct copy *c = copy_make(k, reply);
    if (c == NULL) {
        return reject(n, REJECT_oom);
    }
    c->owner = owner;
    c->epoch = t->epoch;
    c->until_us = until_us;
    if (n->count >= n->bucket_count) {
        resize(n, n->bucket_count * 2);
    }
    struct copy **at = bucket_of(n, c->hash);
    c->next = *at;
    *at = c;
    list_push_back(&n->copies, &c->node);
    account(n, c, 1);
    STAT_ADD(n->stats->near_kept, 1);
    return true;
}

void near_forget(struct near *n, const struct near_key *k) {
    struct copy *before = n->bucket_count > 0 ? *find(n, k) : NULL;
    if (before != NULL) {
        evict(n, before, EVICTION_changed, true);
    }
}

/* ---- ends ---- */

void near_drop(struct near *n, const void *owner) {
    n->since++;
    drop_all(n, owner);
}

void near_tick(struct near *n, int64_t now_us) {
    for (struct copy *c; (c = oldest(n)) != NULL && now_us >= c->until_us;) {
        if (n->reads != NULL) { /* it stays hot when it was read */
            (void)is_hot(n, &(struct near_key){.what = slice_make(c->data, c->what_n), .hash = c->hash, .db = c->db}, c->hits);
        }
        evict(n, c, EVICTION_expired, false);
    }
    if (n->reads != NULL && now_us - n->halved_us >= HALVE_US) {
        n->halved_us = now_us;
        topk_halve(n->reads);
    }
}
