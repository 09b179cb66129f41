/* SPDX-License-Identifier: BSD-3-Clause */
/* write: one table of the keys with changes on their way, under one lock; requests come back on the origins' loop. */
#include "src/tier/write.h"

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/lock.h"
#include "src/base/mem.h"
#include "src/guard/rule.h"
#include "src/l1/shard.h"
#include "src/origin/origin.h"
#include "src/tier/tier.h"

enum { FIRST_BUCKETS = 64 };

/* What a key has become; never changes. */
struct change {
    _Atomic unsigned refs;
    enum rule_write mode;
    bool gone; /* no value any more */
    int64_t made_ms;
    size_t bytes;
    struct item_view item; /* as it is in memory: of what is below */
    struct blob *blob;
    struct value *value;
    unsigned char extra[ITEM_EXTRA_MAX];
    char str[]; /* a short string */
};

/* Who waits for the end of a change. */
struct write_ack {
    struct list node;
    struct sink_ack *ack;
};

/* A key with changes on their way. */
struct pending {
    struct pending *next; /* in its bucket */
    uint64_t hash;        /* of the name alone: an origin knows no databases */
    struct change *flying, *waiting;
    struct list flying_acks, waiting_acks;
    /* of the last change */
    uint8_t db;
    unsigned loop_id;
    const struct rule *rule;
    struct rules *rules; /* keeps it */
    /* of the one that flies; the origin's until it answers */
    struct request request;
    struct writes *writes;
    const struct rule *sent_rule;
    struct rules *sent_rules;
    size_t name_len;
    char name[];
};

struct writes {
    /* fixed after create */
    struct tier *tier;
    struct lock lock;
    /* WRITES lock */
    struct pending **buckets;
    size_t bucket_count;
    bool closing;
    /* atomic; raised under the lock */
    _Atomic size_t keys, bytes, limit_bytes;
    _Atomic uint64_t waiting_replies, taken, failed, coalesced, refused;
};

static void count(_Atomic uint64_t *c) {
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

/* ---- changes ---- */

static size_t item_bytes(const struct item_view *v) {
    return v->type == TYPE_STRING ? v->str.n : value_bytes(v->value);
}

/* v: NULL when the key is gone. */
static struct change *change_make(struct writes *w, const struct item_view *v, enum rule_write mode, int64_t now_ms) {
    bool is_short = v != NULL && v->type == TYPE_STRING && v->blob == NULL;
    struct change *c = mem_alloc(sizeof(*c) + (is_short ? v->str.n : 0));
    *c = (struct change){.mode = mode, .gone = v == NULL, .made_ms = now_ms, .bytes = sizeof(struct pending) + sizeof(*c)};
    atomic_init(&c->refs, 1);
    if (v != NULL) {
        c->item = *v;
        c->bytes += item_bytes(v);
        memcpy(c->extra, v->extra.p == NULL ? "" : v->extra.p, v->extra.n);
        c->item.extra = slice_make(c->extra, v->extra.n);
        if (is_short) {
            memcpy(c->str, v->str.p, v->str.n);
            c->item.str = slice_make(c->str, v->str.n);
        } else if (v->blob != NULL) {
            c->blob = blob_ref(v->blob);
        } else {
            c->value = value_ref(v->value);
        }
    }
    atomic_fetch_add_explicit(&w->bytes, c->bytes, memory_order_relaxed);
    return c;
}

static void change_unref(struct writes *w, struct change *c) {
    if (c == NULL || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    atomic_fetch_sub_explicit(&w->bytes, c->bytes, memory_order_relaxed);
    if (c->blob != NULL) {
        blob_unref(c->blob);
    }
    if (c->value != NULL) {
        value_unref(c->value);
    }
    mem_free(c);
}

/* ---- the table; all with the lock held ---- */

static struct pending **find(struct writes *w, struct slice name, uint64_t hash) {
    struct pending **at = &w->buckets[hash & (w->bucket_count - 1)];
    while (*at != NULL && ((*at)->hash != hash || !slice_eq(slice_make((*at)->name, (*at)->name_len), name))) {
        at = &(*at)->next;
    }
    return at;
}

static void grow(struct writes *w) {
    struct pending **old = w->buckets;
    size_t n = w->bucket_count;
    w->bucket_count = n * 2;
    w->buckets = mem_zalloc(w->bucket_count * sizeof(struct pending *));
    for (size_t i = 0; i < n; i++) {
        for (struct pending *p = old[i], *next; p != NULL; p = next) {
            next = p->next;
            struct pending **head = &w->buckets[p->hash & (w->bucket_count - 1)];
            p->next = *head;
            *head = p;
        }
    }
    mem_free(old);
}

static struct pending *pending_of(struct writes *w, struct slice name) {
    uint64_t hash = hash_bytes(name.p, name.n);
    struct pending *p = *find(w, name, hash);
    if (p != NULL) {
        return p;
    }
    size_t keys = atomic_load_explicit(&w->keys, memory_order_relaxed);
    if (keys >= w->bucket_count) {
        grow(w);
    }
    p = mem_zalloc(sizeof(*p) + name.n);
    p->writes = w;
    p->hash = hash;
    p->name_len = name.n;
    memcpy(p->name, name.p, name.n);
    list_init(&p->flying_acks);
    list_init(&p->waiting_acks);
    struct pending **at = find(w, name, hash);
    *at = p;
    atomic_store_explicit(&w->keys, keys + 1, memory_order_release);
    return p;
}

static void forget(struct writes *w, struct pending *p) {
    struct pending **at = find(w, slice_make(p->name, p->name_len), p->hash);
    *at = p->next;
    atomic_fetch_sub_explicit(&w->keys, 1, memory_order_relaxed);
    rules_unref(p->rules);
    mem_free(p);
}

static bool is_idle(const struct writes *w) {
    return likely(w == NULL || atomic_load_explicit(&w->keys, memory_order_acquire) == 0);
}

/* ---- sending ---- */

static void answered(struct request *r);

static void splice(struct list *to, struct list *from) {
    for (struct list *n; (n = list_pop_front(from)) != NULL;) {
        list_push_back(to, n);
    }
}

/* What waits, flies. Lock held. */
static void send(struct writes *w, struct pending *p) {
    struct slice name = slice_make(p->name, p->name_len);
    struct item_extra extra;
    p->flying = p->waiting;
    p->waiting = NULL;
    splice(&p->flying_acks, &p->waiting_acks);
    p->sent_rule = p->rule;
    p->sent_rules = rules_ref(p->rules);
    p->request = (struct request){.kind = p->flying->gone ? REQUEST_DEL : REQUEST_PUT,
                                  .key = name,
                                  .first = rule_capture(p->rule, name),
                                  .item = p->flying->item,
                                  .done = answered};
    item_extra_get(p->flying->item.extra, &extra);
    p->request.item.expire_ms = item_own_deadline(p->flying->item.expire_ms, &extra);
    rule_count(p->rule, p->loop_id, RULE_writes);
    w->tier->ask(p->rule->target, &p->request);
}

/* ---- answers ---- */

static void tell(struct writes *w, struct list *acks, const char *origin, const char *error) {
    for (struct list *n; (n = list_pop_front(acks)) != NULL;) {
        struct write_ack *a = LIST_ENTRY(n, struct write_ack, node);
        atomic_fetch_sub_explicit(&w->waiting_replies, 1, memory_order_relaxed);
        if (error != NULL) {
            a->ack->failed(a->ack, origin, error);
        }
        a->ack->done(a->ack);
        mem_free(a);
    }
}

/* The last change of a key has its answer: what the tiers have of it. Shard locked, the key no longer in the table. */
static void settle(struct tier *t, const struct key *key, enum rule_write mode, bool taken, int64_t now_ms) {
    int acks = 0;
    if (taken && mode != WRITE_AROUND) {
        tier_commit(t, SINK_SET, key, now_ms, NULL, &acks);
        return;
    }
    if (l1_del(t->l1, key, now_ms)) {
        tier_commit(t, SINK_DEL, key, now_ms, NULL, &acks);
    }
}

/* Locks the shard of the pending's key, and the table: the key may move to another database until both are held. */
static struct key lock_both(struct writes *w, struct pending *p) {
    struct l1 *l1 = w->tier->l1;
    for (;;) {
        lock_acquire(&w->lock);
        struct key key = key_make(slice_make(p->name, p->name_len), p->db);
        lock_release(&w->lock);
        l1_lock(l1, l1_shard_of(l1, key.hash));
        lock_acquire(&w->lock);
        if (p->db == key.db) {
            return key;
        }
        lock_release(&w->lock);
        l1_unlock(l1, l1_shard_of(l1, key.hash));
    }
}

static void answered(struct request *r) {
    struct pending *p = LIST_ENTRY(r, struct pending, request);
    struct writes *w = p->writes;
    struct tier *t = w->tier;
    struct key key = lock_both(w, p);
    unsigned shard = l1_shard_of(t->l1, key.hash);
    bool taken = r->result != REQUEST_FAILED;
    const char *error = taken ? NULL : r->error;
    struct change *was = p->flying;
    struct rules *rules = p->sent_rules; /* keep the origin's name until all are told */
    const char *origin = p->sent_rule->opt.origin;
    struct list acks;
    list_init(&acks);
    splice(&acks, &p->flying_acks);
    p->flying = NULL;
    p->sent_rules = NULL;
    count(taken ? &w->taken : &w->failed);
    if (!taken) {
        rule_count(p->sent_rule, p->loop_id, RULE_write_failures);
    }
    if (p->waiting != NULL && w->closing) {
        splice(&acks, &p->waiting_acks);
        change_unref(w, p->waiting);
        p->waiting = NULL;
        error = "shutting down";
        taken = false;
    }
    if (p->waiting != NULL) {
        send(w, p);
        lock_release(&w->lock);
    } else {
        char *name = mem_memdup(p->name, p->name_len);
        key.name = slice_make(name, p->name_len);
        forget(w, p);
        lock_release(&w->lock);
        settle(t, &key, was->mode, taken, clock_now_ms());
        mem_free(name);
    }
    l1_unlock(t->l1, shard);
    tell(w, &acks, origin, error);
    change_unref(w, was);
    rules_unref(rules);
}

/* ---- a change ---- */

const char *write_refuses(struct writes *w, const struct rule *rule) {
    bool is_full = rule->opt.write != WRITE_OFF && atomic_load_explicit(&w->bytes, memory_order_relaxed) >=
                                                       atomic_load_explicit(&w->limit_bytes, memory_order_relaxed);
    if (is_full) {
        count(&w->refused);
    }
    return is_full ? "too many changes wait for it (write-log-size)" : NULL;
}

void write_changed(struct writes *w, const struct rule *rule, struct rules *rules, const struct key *key, unsigned loop_id,
                   int64_t now_ms, struct sink_ack *ack) {
    struct l1 *l1 = w->tier->l1;
    struct item_view v;
    bool there = l1_get(l1, key, now_ms, L1_NOTOUCH, &v);
    struct change *c = change_make(w, there ? &v : NULL, (enum rule_write)rule->opt.write, now_ms);
    struct write_ack *a = mem_alloc(sizeof(*a));
    a->ack = ack;
    atomic_fetch_add_explicit(&w->waiting_replies, 1, memory_order_relaxed);
    flight_overtake(&l1->shards[l1_shard_of(l1, key->hash)].flights, key);
    lock_acquire(&w->lock);
    struct pending *p = pending_of(w, key->name);
    struct rules *before = p->rules;
    struct change *replaced = p->waiting;
    p->rules = rules_ref(rules);
    p->rule = rule;
    p->db = key->db;
    p->loop_id = loop_id;
    p->waiting = c;
    list_push_back(&p->waiting_acks, &a->node);
    if (p->flying == NULL) {
        send(w, p);
    }
    lock_release(&w->lock);
    if (replaced != NULL) {
        count(&w->coalesced);
    }
    change_unref(w, replaced);
    rules_unref(before);
}

/* ---- looking ---- */

static bool copy_out(const struct change *c, struct found *out) {
    *out = (struct found){.raw = c->item.raw, .expire_ms = c->item.expire_ms, .extra_n = (uint8_t)c->item.extra.n};
    memcpy(out->extra, c->extra, c->item.extra.n);
    if (c->value != NULL) {
        out->value = value_ref(c->value);
        return true;
    }
    bool ok = buf_try_reserve(&out->str, c->item.str.n);
    if (ok) {
        buf_put_slice(&out->str, c->item.str);
    }
    return ok;
}

enum probe_result write_look(struct writes *w, const struct key *key, struct found *out) {
    if (is_idle(w)) {
        return PROBE_UNKNOWN;
    }
    lock_acquire(&w->lock);
    const struct pending *p = *find(w, key->name, hash_bytes(key->name.p, key->name.n));
    struct change *c = p == NULL ? NULL : p->waiting != NULL ? p->waiting : p->flying;
    if (c != NULL) {
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    }
    lock_release(&w->lock);
    enum probe_result r = c == NULL ? PROBE_UNKNOWN : c->gone || !copy_out(c, out) ? PROBE_ABSENT : PROBE_FOUND;
    change_unref(w, c);
    return r;
}

bool write_on_its_way(struct writes *w, const struct key *key) {
    if (is_idle(w)) {
        return false;
    }
    lock_acquire(&w->lock);
    bool there = *find(w, key->name, hash_bytes(key->name.p, key->name.n)) != NULL;
    lock_release(&w->lock);
    return there;
}

bool write_keeps_off(struct writes *w, const struct key *key) {
    return write_on_its_way(w, key);
}

/* ---- life ---- */

struct writes *writes_create(struct tier *t, size_t limit_bytes) {
    struct writes *w = mem_zalloc(sizeof(*w));
    w->tier = t;
    lock_init(&w->lock, LOCK_WRITES, 0);
    w->bucket_count = FIRST_BUCKETS;
    w->buckets = mem_zalloc(w->bucket_count * sizeof(struct pending *));
    atomic_init(&w->limit_bytes, limit_bytes);
    return w;
}

void writes_stop(struct writes *w) {
    lock_acquire(&w->lock);
    w->closing = true;
    lock_release(&w->lock);
}

void writes_destroy(struct writes **wp) {
    struct writes *w = *wp;
    *wp = NULL;
    CHECK(atomic_load(&w->keys) == 0);
    mem_free(w->buckets);
    mem_free(w);
}

void writes_set_limit(struct writes *w, size_t limit_bytes) {
    atomic_store_explicit(&w->limit_bytes, limit_bytes, memory_order_relaxed);
}

void writes_info(struct writes *w, struct buf *out) {
    buf_printf(out, "writes_keys:%zu\r\nwrites_bytes:%zu\r\nwrites_limit_bytes:%zu\r\n", atomic_load(&w->keys), atomic_load(&w->bytes),
               atomic_load(&w->limit_bytes));
    buf_printf(out, "writes_waiting_replies:%llu\r\nwrites_taken:%llu\r\nwrites_failed:%llu\r\nwrites_coalesced:%llu\r\nwrites_refused:%llu\r\n",
               (unsigned long long)atomic_load(&w->waiting_replies), (unsigned long long)atomic_load(&w->taken),
               (unsigned long long)atomic_load(&w->failed), (unsigned long long)atomic_load(&w->coalesced),
               (unsigned long long)atomic_load(&w->refused));
}
