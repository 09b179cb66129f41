/* SPDX-License-Identifier: BSD-3-Clause */
/* write: one table of the keys with changes on their way, under one lock; requests come back on the origins' loop. */
#include "src/tier/write.h"

#include <stdio.h>

#include "persist/write_log.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/lock.h"
#include "src/base/log.h"
#include "src/base/mem.h"
#include "src/guard/rule.h"
#include "src/l1/shard.h"
#include "src/origin/origin.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"

enum {
    FIRST_BUCKETS = 64,
    LANE_FLYING = 16,    /* changes of one lane at its origin at once */
    LEVELS = 8,          /* a key that was refused so often rests REST_MS << so often */
    REST_MS = 100,
    LANE_REST_MS = 50,   /* a lane whose origin fails, likewise */
    LANE_REST_SHIFTS = 5 /* at most so often */
};

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
    /* back */
    struct writes *writes;
    struct write_log_entry entry;
    struct sink_ack *ack; /* told when it is in the log; or NULL */
    char str[]; /* a short string; back: the name and the origin's */
};

/* The end of a change in the log. */
struct ending {
    struct write_log_entry entry;
    char name[];
};

/* The changes of back for one origin. */
struct lane {
    struct lane *next;
    void *target;
    struct list ready;
    struct list resting[LEVELS]; /* each in the order in which they are due */
    unsigned flying, failures;   /* failures one after the other */
    int64_t rest_until_ms;       /* monotonic */
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
    const struct rule *rule; /* NULL: none says so any more */
    struct rules *rules;     /* keeps it */
    void *target;            /* NULL: there is no such origin any more */
    /* back */
    bool lasting;        /* a change of back is on its way */
    struct lane *lane;   /* where the key waits or flies, or NULL */
    struct list node;    /* in the lane's ready or resting, or in none */
    struct list by_age;  /* among all lasting ones, about in the order of since_ms */
    int64_t since_ms;    /* wall clock: of the oldest change the origin has not taken */
    int64_t due_ms;      /* while it rests; monotonic */
    unsigned refusals;   /* one after the other */
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
    struct lane *lanes;
    struct list by_age;
    uint64_t next_seq;
    /* fixed after open_log */
    struct write_log *log;
    /* atomic; raised under the lock */
    _Atomic size_t keys, lasting, bytes, limit_bytes;
    _Atomic uint64_t waiting_replies, taken, failed, coalesced, refused, retries;
    const char *_Atomic last_error;
};

static void count(_Atomic uint64_t *c) {
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

/* ---- changes ---- */

static size_t item_bytes(const struct item_view *v) {
    return v->type == TYPE_STRING ? v->str.n : value_bytes(v->value);
}

/* v: NULL when the key is gone. */
static struct change *change_make(struct writes *w, const struct item_view *v, enum rule_write mode, size_t room, int64_t now_ms) {
    bool is_short = v != NULL && v->type == TYPE_STRING && v->blob == NULL;
    struct change *c = mem_alloc(sizeof(*c) + (is_short ? v->str.n : 0) + room);
    *c = (struct change){.mode = mode, .gone = v == NULL, .made_ms = now_ms, .writes = w};
    c->bytes = sizeof(struct pending) + sizeof(*c) + room;
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
    list_init(&p->node);
    list_init(&p->by_age);
    struct pending **at = find(w, name, hash);
    *at = p;
    atomic_store_explicit(&w->keys, keys + 1, memory_order_release);
    return p;
}

static void forget(struct writes *w, struct pending *p) {
    struct pending **at = find(w, slice_make(p->name, p->name_len), p->hash);
    *at = p->next;
    list_remove(&p->node);
    list_remove(&p->by_age);
    atomic_fetch_sub_explicit(&w->keys, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&w->lasting, p->lasting, memory_order_relaxed);
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
                                  .first = p->rule != NULL ? rule_capture(p->rule, name) : slice_make("", 0),
                                  .item = p->flying->item,
                                  .background = p->lasting,
                                  .done = answered};
    item_extra_get(p->flying->item.extra, &extra);
    p->request.item.expire_ms = item_own_deadline(p->flying->item.expire_ms, &extra);
    if (p->rule != NULL) {
        rule_count(p->rule, p->loop_id, RULE_writes);
    }
    w->tier->ask(p->target, &p->request);
}

/* ---- lanes; all with the lock held ---- */

static int64_t mono_ms(void) {
    return clock_mono_us() / 1000;
}

static struct lane *lane_of(struct writes *w, void *target) {
    struct lane *l = w->lanes;
    while (l != NULL && l->target != target) {
        l = l->next;
    }
    if (l == NULL) {
        l = mem_zalloc(sizeof(*l));
        l->target = target;
        l->next = w->lanes;
        list_init(&l->ready);
        for (int i = 0; i < LEVELS; i++) {
            list_init(&l->resting[i]);
        }
        w->lanes = l;
    }
    return l;
}

static void pump(struct writes *w, struct lane *l) {
    while (!w->closing && l->flying < LANE_FLYING && !list_empty(&l->ready) && mono_ms() >= l->rest_until_ms) {
        struct pending *p = LIST_ENTRY(list_pop_front(&l->ready), struct pending, node);
        list_init(&p->node);
        l->flying++;
        send(w, p);
    }
}

/* The key has a change that must not be lost, and nothing of it flies, or is in a lane. */
static void enter_lane(struct writes *w, struct pending *p) {
    if (p->target != NULL) {
        p->lane = lane_of(w, p->target);
        list_push_back(&p->lane->ready, &p->node);
        pump(w, p->lane);
    }
}

/* The origin did not take p's change, which waits again. */
static void rest(struct lane *l, struct pending *p, bool origin_is_well) {
    if (origin_is_well) {
        unsigned level = p->refusals < LEVELS - 1 ? p->refusals : LEVELS - 1;
        p->refusals++;
        p->due_ms = mono_ms() + ((int64_t)REST_MS << level);
        list_push_back(&l->resting[level], &p->node);
        return;
    }
    list_push_front(&l->ready, &p->node);
    if (mono_ms() >= l->rest_until_ms) { /* not once for each of those that flew together */
        l->rest_until_ms = mono_ms() + ((int64_t)LANE_REST_MS << (l->failures < LANE_REST_SHIFTS ? l->failures : LANE_REST_SHIFTS));
        l->failures++;
    }
}

void writes_tick(struct writes *w) {
    if (atomic_load_explicit(&w->lasting, memory_order_relaxed) == 0) {
        return;
    }
    lock_acquire(&w->lock);
    int64_t now = mono_ms();
    for (struct lane *l = w->lanes; l != NULL; l = l->next) {
        for (int i = 0; i < LEVELS; i++) {
            while (!list_empty(&l->resting[i]) && LIST_ENTRY(l->resting[i].next, struct pending, node)->due_ms <= now) {
                list_push_back(&l->ready, list_pop_front(&l->resting[i]));
            }
        }
        pump(w, l);
    }
    lock_release(&w->lock);
}

/* ---- the log ---- */

static void note_lasting(struct writes *w, struct pending *p, const struct change *c) {
    if (!p->lasting) {
        p->lasting = true;
        p->since_ms = c->made_ms;
        list_push_back(&w->by_age, &p->by_age);
        atomic_fetch_add_explicit(&w->lasting, 1, memory_order_relaxed);
    }
}

/* In the log, or not: then it is still sent, but does not outlive the process. */
static void on_logged(struct write_log_entry *e, const char *error) {
    struct change *c = LIST_ENTRY(e, struct change, entry);
    if (c->ack != NULL) {
        atomic_fetch_sub_explicit(&c->writes->waiting_replies, 1, memory_order_relaxed);
        if (error != NULL) {
            char text[128];
            snprintf(text, sizeof(text), "the write log cannot be written: %s", error);
            c->ack->failed(c->ack, e->origin.p, text);
        }
        c->ack->done(c->ack);
    }
    change_unref(c->writes, c);
}

/* name and origin, ended by a zero byte, are in the change's own room at the end. Lock held: the order in the log is that in memory. */
static void log_change(struct writes *w, struct change *c, struct slice name, const char *origin) {
    char *room = c->str + (c->item.str.p == c->str ? c->item.str.n : 0);
    size_t origin_len = strlen(origin);
    memcpy(room, name.p, name.n);
    memcpy(room + name.n, origin, origin_len + 1);
    c->entry = (struct write_log_entry){.kind = c->gone ? WRITE_LOG_DEL : WRITE_LOG_SET,
                                        .seq = w->next_seq++,
                                        .time_ms = c->made_ms,
                                        .origin = slice_make(room + name.n, origin_len),
                                        .name = slice_make(room, name.n),
                                        .item = c->item,
                                        .written = on_logged};
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    if (w->log != NULL) {
        write_log_append(w->log, &c->entry);
    } else {
        on_logged(&c->entry, NULL);
    }
}

static void ending_logged(struct write_log_entry *e, const char *error) {
    (void)error; /* then it is sent once more after the next start, which changes nothing */
    mem_free(LIST_ENTRY(e, struct ending, entry));
}

/* The origin has the key's newest change. Lock held. */
static void log_ending(struct writes *w, const struct pending *p, uint64_t seq) {
    if (w->log == NULL) {
        return;
    }
    struct ending *e = mem_alloc(sizeof(*e) + p->name_len);
    memcpy(e->name, p->name, p->name_len);
    e->entry = (struct write_log_entry){.kind = WRITE_LOG_DONE,
                                        .seq = seq,
                                        .origin = slice_make("", 0),
                                        .name = slice_make(e->name, p->name_len),
                                        .written = ending_logged};
    write_log_append(w->log, &e->entry);
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
    if (mode == WRITE_BACK) {
        return;
    }
    if (taken && mode == WRITE_THROUGH) {
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

/* The change that flew, and who hears of it when no lock is held any more. */
struct landed {
    struct change *change;
    struct rules *rules; /* keep the origin's name until all are told */
    const char *origin, *error;
    bool taken;
    struct list acks;
};

/* Counts, and takes what flew off p. Lock held. */
static void land(struct writes *w, struct pending *p, struct landed *d) {
    const struct request *r = &p->request;
    d->change = p->flying;
    d->rules = p->sent_rules;
    d->origin = p->sent_rule != NULL ? p->sent_rule->opt.origin : "";
    d->taken = r->result != REQUEST_FAILED;
    d->error = d->taken ? NULL : r->error;
    list_init(&d->acks);
    splice(&d->acks, &p->flying_acks);
    p->flying = NULL;
    p->sent_rules = NULL;
    count(d->taken ? &w->taken : &w->failed);
    if (!d->taken) {
        atomic_store_explicit(&w->last_error, d->error, memory_order_relaxed);
        if (p->sent_rule != NULL) {
            rule_count(p->sent_rule, p->loop_id, RULE_write_failures);
        }
    }
    if (w->closing && p->waiting != NULL && !p->lasting) {
        splice(&d->acks, &p->waiting_acks);
        change_unref(w, p->waiting);
        p->waiting = NULL;
        d->error = "shutting down";
        d->taken = false;
    }
}

/* A change of back that the origin did not take waits again, unless a newer one does. */
static void wait_again(struct writes *w, struct pending *p, struct change *c) {
    if (p->waiting == NULL) {
        atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
        p->waiting = c;
        count(&w->retries);
    } else {
        count(&w->coalesced);
    }
}

/* What has landed of a lane's key makes room for others; what was not taken, or is newer, comes later. Lock held. */
static void leave_lane(struct writes *w, struct pending *p, const struct landed *d) {
    struct lane *l = p->lane;
    const struct request *r = &p->request;
    l->flying--;
    if (d->taken) {
        l->failures = 0;
        p->refusals = 0;
        l->rest_until_ms = 0;
    }
    if (p->waiting != NULL && d->taken) {
        list_remove(&p->by_age);
        list_push_back(&w->by_age, &p->by_age);
        p->since_ms = p->waiting->made_ms;
        list_push_back(&l->ready, &p->node);
    } else if (p->waiting != NULL) {
        rest(l, p, r->blame == BLAME_REQUEST || (r->blame == BLAME_NOBODY && r->attempts > 0));
    }
    if (p->waiting != NULL && p->target != l->target) { /* a policy has named another origin meanwhile */
        list_remove(&p->node);
        list_init(&p->node);
        enter_lane(w, p);
    }
    pump(w, l);
}

/* Sends on what waits, or lets go of the key: then true. Lock held. */
static bool go_on(struct writes *w, struct pending *p, const struct landed *d) {
    bool lasts = d->change->mode == WRITE_BACK;
    if (lasts && !d->taken) {
        wait_again(w, p, d->change);
    }
    if (p->lane != NULL) {
        leave_lane(w, p, d);
    } else if (p->waiting != NULL && p->lasting) {
        enter_lane(w, p);
    } else if (p->waiting != NULL) {
        send(w, p);
    }
    if (p->waiting != NULL || p->flying != NULL) {
        return false;
    }
    if (lasts) {
        log_ending(w, p, d->change->entry.seq);
    }
    return true;
}

static void answered(struct request *r) {
    struct pending *p = LIST_ENTRY(r, struct pending, request);
    struct writes *w = p->writes;
    struct key key = lock_both(w, p);
    unsigned shard = l1_shard_of(w->tier->l1, key.hash);
    struct landed d;
    land(w, p, &d);
    if (!go_on(w, p, &d)) {
        lock_release(&w->lock);
    } else {
        char *name = mem_memdup(p->name, p->name_len);
        key.name = slice_make(name, p->name_len);
        forget(w, p);
        lock_release(&w->lock);
        settle(w->tier, &key, d.change->mode, d.taken, clock_now_ms());
        mem_free(name);
    }
    l1_unlock(w->tier->l1, shard);
    tell(w, &d.acks, d.origin, d.error);
    change_unref(w, d.change);
    rules_unref(d.rules);
}

/* ---- a change ---- */

const char *write_refuses(struct writes *w, const struct rule *rule) {
    const char *why = NULL;
    if (rule->opt.write == WRITE_OFF) {
        return NULL;
    }
    if (atomic_load_explicit(&w->bytes, memory_order_relaxed) >= atomic_load_explicit(&w->limit_bytes, memory_order_relaxed)) {
        why = "too many changes wait for it (write-log-size)";
    } else if (rule->opt.write == WRITE_BACK && w->log != NULL && write_log_trouble(w->log) != NULL) {
        why = "the write log cannot be written";
    }
    if (why != NULL) {
        count(&w->refused);
    }
    return why;
}

static void wait_for(struct writes *w, struct pending *p, struct sink_ack *ack) {
    struct write_ack *a = mem_alloc(sizeof(*a));
    a->ack = ack;
    list_push_back(&p->waiting_acks, &a->node);
    atomic_fetch_add_explicit(&w->waiting_replies, 1, memory_order_relaxed);
}

/* c is p's newest change. Lock held. */
static void supersede(struct writes *w, struct pending *p, struct change *c, const char *origin, struct sink_ack *ack) {
    bool back = c->mode == WRITE_BACK;
    if (p->waiting != NULL) {
        count(&w->coalesced);
        change_unref(w, p->waiting);
    }
    p->waiting = c;
    if (back) {
        note_lasting(w, p, c);
        c->ack = ack;
        atomic_fetch_add_explicit(&w->waiting_replies, 1, memory_order_relaxed);
    } else {
        wait_for(w, p, ack);
    }
    if (p->lasting) {
        c->mode = WRITE_BACK;
        log_change(w, c, slice_make(p->name, p->name_len), origin);
    }
    if (p->flying == NULL && p->lasting && p->lane == NULL) {
        enter_lane(w, p);
    } else if (p->flying == NULL && !p->lasting) {
        send(w, p);
    }
}

void write_changed(struct writes *w, const struct rule *rule, struct rules *rules, const struct key *key, unsigned loop_id,
                   int64_t now_ms, struct sink_ack *ack) {
    struct l1 *l1 = w->tier->l1;
    struct item_view v;
    bool there = l1_get(l1, key, now_ms, L1_NOTOUCH, &v);
    if (there && w->tier->takes != NULL && !w->tier->takes(rule->target, v.type)) {
        l1_del(l1, key, now_ms);
        ack->failed(ack, rule->opt.origin, "it takes strings only");
        ack->done(ack);
        return;
    }
    size_t room = key->name.n + strlen(rule->opt.origin) + 1;
    struct change *c = change_make(w, there ? &v : NULL, (enum rule_write)rule->opt.write, room, now_ms);
    flight_overtake(&l1->shards[l1_shard_of(l1, key->hash)].flights, key);
    lock_acquire(&w->lock);
    struct pending *p = pending_of(w, key->name);
    struct rules *before = p->rules;
    p->rules = rules_ref(rules);
    p->rule = rule;
    p->target = rule->target;
    p->db = key->db;
    p->loop_id = loop_id;
    supersede(w, p, c, rule->opt.origin, ack);
    lock_release(&w->lock);
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
    if (is_idle(w)) {
        return false;
    }
    lock_acquire(&w->lock);
    const struct pending *p = *find(w, key->name, hash_bytes(key->name.p, key->name.n));
    bool off = p != NULL && !p->lasting;
    lock_release(&w->lock);
    return off;
}

/* ---- the start ---- */

struct replay {
    struct writes *w;
    struct rules *rules;
    void *(*find)(void *ctx, struct slice origin);
    void *ctx;
    size_t count, homeless;
};

static void replay_one(void *ctx, const struct write_log_found *f) {
    struct replay *r = ctx;
    struct writes *w = r->w;
    const struct rule *rule = rules_match(r->rules, f->name);
    struct item_view v = {.type = f->value->value != NULL ? (enum value_type)f->value->value->type : TYPE_STRING,
                          .raw = f->value->raw,
                          .str = buf_slice(&f->value->str),
                          .value = f->value->value,
                          .expire_ms = f->value->expire_ms,
                          .extra = slice_make(f->value->extra, f->value->extra_n)};
    struct change *c = change_make(w, f->kind == WRITE_LOG_SET ? &v : NULL, WRITE_BACK, 0, f->time_ms);
    c->entry.seq = f->seq;
    lock_acquire(&w->lock);
    struct pending *p = pending_of(w, f->name);
    bool said = rule != NULL && slice_eq(slice_cstr(rule->opt.origin), f->origin);
    p->rules = said ? rules_ref(r->rules) : NULL;
    p->rule = said ? rule : NULL;
    p->target = r->find(r->ctx, f->origin);
    p->waiting = c;
    note_lasting(w, p, c);
    enter_lane(w, p);
    lock_release(&w->lock);
    r->count++;
    r->homeless += p->target == NULL;
}

/* What a save file had of these keys is older. */
static void drop_older(struct writes *w) {
    struct l1 *l1 = w->tier->l1;
    int64_t now_ms = clock_now_ms();
    for (struct list *n = w->by_age.next; n != &w->by_age; n = n->next) {
        const struct pending *p = LIST_ENTRY(n, struct pending, by_age);
        for (unsigned i = 0; i < L1_MAX_DBS && l1_keys(l1) > 0; i++) {
            struct key key = key_make(slice_make(p->name, p->name_len), l1->db_map[i]);
            unsigned shard = l1_shard_of(l1, key.hash);
            l1_lock(l1, shard);
            l1_del(l1, &key, now_ms);
            l1_unlock(l1, shard);
        }
    }
}

bool writes_open_log(struct writes *w, const char *dir, const struct hash_limits *limits, void *(*find_origin)(void *ctx, struct slice origin),
                     void *ctx, struct buf *err) {
    struct replay r = {.w = w, .rules = guard_rules(w->tier->guard), .find = find_origin, .ctx = ctx};
    struct write_log_options o = {.dir = dir,
                                  .limit_bytes = atomic_load(&w->limit_bytes),
                                  .hash_limits = limits,
                                  .replay = replay_one,
                                  .ctx = &r};
    w->closing = true; /* nothing is sent before all is known */
    w->log = write_log_open(&o, &w->next_seq, err);
    w->closing = false;
    rules_unref(r.rules);
    if (r.count > 0) {
        log_notice("write log: %zu changes are on their way again%s", r.count, r.homeless > 0 ? "; origins of some are not configured" : "");
        drop_older(w);
    }
    return w->log != NULL;
}

/* ---- life ---- */

struct writes *writes_create(struct tier *t, size_t limit_bytes) {
    struct writes *w = mem_zalloc(sizeof(*w));
    w->tier = t;
    lock_init(&w->lock, LOCK_WRITES, 0);
    w->bucket_count = FIRST_BUCKETS;
    w->buckets = mem_zalloc(w->bucket_count * sizeof(struct pending *));
    atomic_init(&w->limit_bytes, limit_bytes);
    list_init(&w->by_age);
    w->next_seq = 1;
    return w;
}

void writes_stop(struct writes *w) {
    lock_acquire(&w->lock);
    w->closing = true;
    for (struct list *n = w->by_age.next; n != &w->by_age; n = n->next) {
        struct pending *p = LIST_ENTRY(n, struct pending, by_age);
        tell(w, &p->waiting_acks, p->rule != NULL ? p->rule->opt.origin : "", "shutting down");
    }
    lock_release(&w->lock);
}

void writes_close_log(struct writes *w) {
    size_t left = atomic_load(&w->lasting);
    if (left > 0) {
        log_notice("write log: %zu changes are kept for the next start", left);
    }
    if (w->log != NULL) {
        write_log_close(&w->log);
    }
}

static void free_waiting(struct writes *w, struct pending *p) {
    CHECK(p->flying == NULL && list_empty(&p->waiting_acks));
    change_unref(w, p->waiting);
    forget(w, p);
}

void writes_destroy(struct writes **wp) {
    struct writes *w = *wp;
    *wp = NULL;
    while (!list_empty(&w->by_age)) {
        free_waiting(w, LIST_ENTRY(w->by_age.next, struct pending, by_age));
    }
    CHECK(atomic_load(&w->keys) == 0);
    for (struct lane *l = w->lanes, *next; l != NULL; l = next) {
        next = l->next;
        mem_free(l);
    }
    mem_free(w->buckets);
    mem_free(w);
}

void writes_set_limit(struct writes *w, size_t limit_bytes) {
    atomic_store_explicit(&w->limit_bytes, limit_bytes, memory_order_relaxed);
    if (w->log != NULL) {
        write_log_set_limit(w->log, limit_bytes);
    }
}

static void put(struct buf *out, const char *name, uint64_t n) {
    buf_printf(out, "writes_%s:%llu\r\n", name, (unsigned long long)n);
}

void writes_info(struct writes *w, struct buf *out) {
    struct write_log_stats s = {0};
    int64_t lag_ms = 0, now_ms = clock_now_ms();
    if (w->log != NULL) {
        write_log_stats_read(w->log, &s);
    }
    lock_acquire(&w->lock);
    if (!list_empty(&w->by_age)) {
        lag_ms = now_ms - LIST_ENTRY(w->by_age.next, struct pending, by_age)->since_ms;
    }
    lock_release(&w->lock);
    const char *error = atomic_load(&w->last_error);
    put(out, "keys", atomic_load(&w->keys));
    put(out, "bytes", atomic_load(&w->bytes));
    put(out, "limit_bytes", atomic_load(&w->limit_bytes));
    put(out, "waiting_replies", atomic_load(&w->waiting_replies));
    put(out, "taken", atomic_load(&w->taken));
    put(out, "failed", atomic_load(&w->failed));
    put(out, "coalesced", atomic_load(&w->coalesced));
    put(out, "refused", atomic_load(&w->refused));
    put(out, "retries", atomic_load(&w->retries));
    put(out, "log_depth", atomic_load(&w->lasting));
    put(out, "log_lag_ms", lag_ms > 0 ? (uint64_t)lag_ms : 0);
    put(out, "log_file_bytes", s.bytes);
    put(out, "log_segments", s.segments);
    put(out, "log_records", s.records);
    put(out, "log_batches", s.batches);
    put(out, "log_rewritten", s.rewritten);
    put(out, "log_failures", s.failures);
    buf_printf(out, "writes_last_error:%s\r\n", error != NULL ? error : "");
}
