/* SPDX-License-Identifier: BSD-3-Clause */
/* fill: missing keys are fetched once, whoever waits. The call that finds no flight for its key leads one: it walks the chain
 * of sources; the others join. The flight belongs to neither, and ends when the chain does. */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/flight.h"
#include "src/l1/shard.h"
#include "src/guard/marks.h"
#include "src/guard/rule.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/tier/guard.h"
#include "src/tier/tier.h"
#include "src/tier/write.h"

/* One key a fill waits for. */
struct fill_wait {
    struct waiter waiter;
    struct msg msg;
    struct fill *fill;
    struct lead *lead; /* the flight this wait leads, until fill_launch; else NULL */
    int index;
    bool pending;
    bool settle; /* the answer is final for the call: absent, failed, or found for this call only */
    bool failed, passing;
    uint8_t asked; /* a bit of each tier that was */
    const char *error;
};

/* One flight's walk along the chain: the sources, and at its end the origin of the key's rule, if any. */
struct lead {
    struct fetch fetch;
    struct tier *tier;
    struct flight *flight;
    unsigned shard;
    unsigned at; /* source being asked; behind the last: the origin */
    uint8_t asked; /* a bit of each tier so far */
    const struct rule *rule; /* or NULL */
    struct rules *rules;     /* keeps it */
    struct request request;
};

static void count(_Atomic uint64_t *c) {
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

/* One wait less; resume when it was the last. */
static void wait_over(struct fill_wait *w) {
    struct fill *f = w->fill;
    w->pending = false;
    f->asked[w->index] |= w->asked;
    if (w->settle) {
        f->settled[w->index] = w->failed ? FILL_FAILED : FILL_ABSENT;
        f->failed |= w->failed;
        f->passing |= w->passing;
        f->error = w->error != NULL ? w->error : f->error;
    }
    CHECK(f->pending > 0);
    if (--f->pending == 0) {
        f->resume(f);
    }
}

static void wait_arrived(struct loop *loop, struct msg *msg) {
    (void)loop;
    wait_over((struct fill_wait *)((char *)msg - offsetof(struct fill_wait, msg)));
}

static void wait_wake(struct waiter *waiter) {
    struct fill_wait *w = LIST_ENTRY(waiter, struct fill_wait, waiter);
    loop_post(w->fill->loop, &w->msg);
}

/* Makes the key resident. False: expired, or no memory. Shard locked. Room for it is made after the call that wanted it has
 * run: made here it could cost another key of that call. */
static bool store(struct tier *t, const struct key *key, struct found *f, int64_t now_ms) {
    struct item_extra extra = {0};
    if (f->extra_n > 0 && !item_extra_get(slice_make(f->extra, f->extra_n), &extra)) {
        return false;
    }
    int64_t soft_ms = tier_deadline(t, key, f->expire_ms == L1_NO_TTL ? INT64_MAX : f->expire_ms, &extra);
    if (soft_ms <= now_ms && (soft_ms == INT64_MIN || soft_ms + (int64_t)extra.grace_ms <= now_ms)) {
        return false;
    }
    if (soft_ms <= now_ms) { /* in its grace: stored as if it had not ended, so that only those see it who may */
        f->expire_ms = soft_ms;
        now_ms = soft_ms - 1;
    }
    bool is_filter = f->value != NULL && f->value->type == TYPE_BLOOM;
    if (f->value != NULL) {
        if (l1_set_value(t->l1, key, f->value, f->expire_ms, now_ms) != OK) {
            return false;
        }
        f->value = NULL; /* l1 has the reference */
    } else if (l1_set(t->l1, key, buf_slice(&f->str), f->expire_ms, f->raw ? L1_RAW : 0, now_ms) != OK) {
        return false;
    }
    if (f->written != 0) {
        l1_set_stamps(t->l1, key, f->written, 0);
    }
    if (f->extra_n > 0) { /* valid as of now, whatever it was stamped with */
        unsigned char bytes[ITEM_EXTRA_MAX];
        extra.stamp = extra.tags > 0 || extra.stamp != 0 ? tier_last_purge(t) : 0;
        l1_set_extra(t->l1, key, slice_make(bytes, item_extra_put(&extra, bytes)), now_ms);
    }
    if (f->same) {
        l1_set_below(t->l1, key, L1_BELOW_SAME);
    }
    if (is_filter && t->guard != NULL) {
        struct rules *rules = guard_rules(t->guard);
        guard_seen(t->guard, rules, key, now_ms);
        rules_unref(rules);
    }
    return true;
}

bool tier_take_in(struct tier *t, const struct key *key, struct found *f, int64_t now_ms) {
    int acks = 0;
    if (!store(t, key, f, now_ms)) {
        return false;
    }
    tier_commit(t, SINK_SET, key, now_ms, NULL, &acks);
    if (settled_is_on(&t->settled)) {
        settled_add(&t->settled, key);
    }
    return true;
}

void tier_let_go(struct tier *t, const struct key *key, int64_t now_ms) {
    int acks = 0;
    if (l1_del(t->l1, key, now_ms)) {
        tier_commit(t, SINK_DEL, key, now_ms, NULL, &acks);
    }
}

static void note_asked(uint8_t *asked, enum stat_tier tier) {
    if (asked != NULL) {
        *asked |= (uint8_t)(1 << tier);
    }
}

enum probe_result tier_probe(struct tier *t, const struct key *key, int64_t now_ms, uint8_t *asked) {
    for (unsigned i = 0; i < t->source_count; i++) {
        struct source *s = t->sources[i];
        struct found found = {.expire_ms = L1_NO_TTL};
        bool ask = s->probe != NULL && !atomic_load_explicit(&t->never_probe, memory_order_relaxed);
        enum probe_result r = ask ? s->probe(s, key, now_ms, &found) : PROBE_UNKNOWN;
        note_asked(asked, s->tier);
        if (r == PROBE_FOUND) {
            count(&t->found);
            bool stored = store(t, key, &found, now_ms);
            found_free(&found);
            return stored ? PROBE_FOUND : PROBE_ABSENT;
        }
        if (r == PROBE_UNKNOWN) {
            return PROBE_UNKNOWN;
        }
    }
    count(&t->absent);
    return PROBE_ABSENT;
}

/* ---- the origin's answer ---- */

/* The tags of the value that is replaced, when there is one, and the purge that what is new is no older than. Shard locked. */
static void hand_on_tags(struct tier *t, const struct key *key, struct item_extra *extra, int64_t now_ms) {
    struct item_view old;
    struct item_extra had;
    if (l1_get(t->l1, key, now_ms, L1_NOTOUCH | L1_STALE, &old) && item_extra_get(old.extra, &had)) {
        extra->tags = had.tags;
        memcpy(extra->tag, had.tag, had.tags * sizeof(had.tag[0]));
    }
    extra->stamp = extra->tags > 0 ? tier_last_purge(t) : tier_newborn_stamp(t, key);
}

/* Stores what an origin gave, for as long as the rule says, and tells the tiers below. Shard locked. */
static bool store_loaded(struct lead *l, int64_t now_ms) {
    struct tier *t = l->tier;
    struct found *f = &l->request.found;
    uint32_t took_ms = l->request.took_ms > 0 ? (uint32_t)l->request.took_ms : 1;
    struct item_extra extra = {.load_ms = l->rule->opt.early == EARLY_ON ? took_ms : 0};
    unsigned char bytes[ITEM_EXTRA_MAX];
    f->expire_ms = guard_load_deadline(l->rule, &l->request.life, now_ms, &extra);
    f->same = false;
    hand_on_tags(t, &l->fetch.key, &extra, now_ms);
    f->extra_n = (uint8_t)item_extra_put(&(struct item_extra){.stamp = extra.stamp}, f->extra); /* no purge before it is about it */
    int acks = 0;
    /* one that must not be kept is past its deadline already: stored as if it were not, then noted, so that only those who
     * waited see it */
    int64_t then = extra.passing ? now_ms - 1 : now_ms;
    if (!store(t, &l->fetch.key, f, then)) {
        return false;
    }
    l1_set_extra(t->l1, &l->fetch.key, slice_make(bytes, item_extra_put(&extra, bytes)), then);
    tier_commit(t, extra.passing ? SINK_DEL : SINK_SET, &l->fetch.key, now_ms, NULL, &acks);
    return true;
}

/* What the origin said, made true. Shard locked. */
static void settle_load(struct lead *l, int64_t now_ms) {
    struct tier *t = l->tier;
    const struct rule *rule = l->rule;
    unsigned loop = (unsigned)loop_id(l->fetch.loop);
    int acks = 0;
    if (l->request.result == REQUEST_OK && store_loaded(l, now_ms)) {
        marks_drop(t->guard->marks, l->fetch.key.hash);
        return;
    }
    if (l->request.result == REQUEST_ABSENT) {
        if (l1_del(t->l1, &l->fetch.key, now_ms)) { /* it was there, and is gone at the origin */
            tier_commit(t, SINK_DEL, &l->fetch.key, now_ms, NULL, &acks);
        }
        if (rule->opt.negative_ms > 0) {
            marks_put(t->guard->marks, l->fetch.key.hash, MARK_ABSENT, now_ms + rule->opt.negative_ms);
        }
        return;
    }
    rule_count(rule, loop, RULE_load_failures);
    if (rule->opt.error_ms > 0) {
        marks_put(t->guard->marks, l->fetch.key.hash, MARK_FAILED, now_ms + rule->opt.error_ms);
    }
}

/* ---- the end ---- */

static void lead_free(struct lead *l) {
    found_free(&l->fetch.found);
    found_free(&l->request.found);
    rules_unref(l->rules);
    mem_free(l);
}

/* The answer of the chain becomes true in memory, unless the key was written meanwhile. Shard locked. */
static void lead_settle(struct lead *l) {
    struct tier *t = l->tier;
    struct fetch *f = &l->fetch;
    int64_t now_ms = loop_now_ms(f->loop);
    if (l->flight->overtaken) {
        count(&t->dropped_late);
    } else if (l->at == t->source_count && l->rule != NULL && l->rule->target != NULL) {
        settle_load(l, now_ms);
    } else if (f->result == FETCH_FOUND && !store(t, &f->key, &f->found, now_ms)) {
        f->result = FETCH_ABSENT;
    }
}

static void lead_finish(struct lead *l) {
    struct tier *t = l->tier;
    struct fetch *f = &l->fetch;
    struct list woken;
    list_init(&woken);
    l1_lock(t->l1, l->shard);
    bool overtaken = l->flight->overtaken;
    lead_settle(l);
    flight_end(&t->l1->shards[l->shard].flights, l->flight, &woken);
    l1_unlock(t->l1, l->shard);
    count(f->result == FETCH_FOUND ? &t->found : f->result == FETCH_ABSENT ? &t->absent : &t->failed);
    bool passing = l->at == t->source_count && f->result == FETCH_FOUND && l->rule->opt.ttl_ms < 0 && l->request.life.ttl_ms == 0;
    for (struct list *n; (n = list_pop_front(&woken)) != NULL;) {
        struct fill_wait *w = LIST_ENTRY(n, struct fill_wait, waiter.node);
        /* after a write the call looks again: the writer's value counts, not the chain's word */
        w->settle = (f->result != FETCH_FOUND || passing) && !overtaken;
        w->asked = overtaken ? 0 : l->asked;
        w->failed = f->result == FETCH_ERROR;
        w->passing = passing;
        w->error = w->failed ? f->error : NULL;
        w->waiter.wake(&w->waiter);
    }
    lead_free(l);
}

static void lead_loaded(struct request *r) {
    struct lead *l = (struct lead *)((char *)r - offsetof(struct lead, request));
    static const enum fetch_result as[] = {
        [REQUEST_OK] = FETCH_FOUND, [REQUEST_ABSENT] = FETCH_ABSENT, [REQUEST_FAILED] = FETCH_ERROR};
    l->fetch.result = as[r->result];
    l->fetch.error = r->error;
    lead_finish(l);
}

static void lead_load(struct lead *l) {
    l->asked |= 1 << STAT_ORIGIN;
    l->request.kind = REQUEST_LOAD;
    l->request.key = l->fetch.key.name;
    l->request.first = rule_capture(l->rule, l->fetch.key.name);
    l->request.loop = l->fetch.loop;
    l->request.background = l->fetch.background;
    l->request.done = lead_loaded;
    count(&l->tier->loads);
    rule_count(l->rule, (unsigned)loop_id(l->fetch.loop), RULE_loads);
    l->tier->ask(l->rule->target, &l->request);
}

static void lead_ask(struct lead *l) {
    l->fetch.result = FETCH_ABSENT;
    l->fetch.error = NULL;
    if (l->at < l->tier->source_count) {
        struct source *s = l->tier->sources[l->at];
        l->asked |= (uint8_t)(1 << s->tier);
        s->fetch(s, &l->fetch);
    } else if (l->rule != NULL && l->rule->target != NULL) {
        lead_load(l);
    } else {
        lead_finish(l);
    }
}

static bool has_more(const struct lead *l) {
    unsigned last = l->tier->source_count + (l->rule != NULL && l->rule->target != NULL ? 1 : 0);
    return l->at + 1 < last;
}

static void lead_answered(struct fetch *f) {
    struct lead *l = (struct lead *)((char *)f - offsetof(struct lead, fetch));
    if (f->result != FETCH_FOUND && has_more(l)) {
        l->at++;
        lead_ask(l);
        return;
    }
    f->error = NULL; /* no source's word but an origin's is told to clients */
    lead_finish(l);
}

static struct lead *lead_create(struct tier *t, struct flight *flight, const struct key *key, struct loop *loop,
                                const struct rule *rule, struct rules *rules) {
    struct lead *l = mem_alloc(sizeof(*l));
    *l = (struct lead){.tier = t, .flight = flight, .shard = l1_shard_of(t->l1, key->hash), .rule = rule};
    l->rules = rule != NULL ? rules_ref(rules) : NULL;
    l->fetch.key = (struct key){slice_make(flight->name, flight->name_len), key->hash, key->db};
    l->fetch.loop = loop;
    l->fetch.found.expire_ms = L1_NO_TTL;
    l->fetch.done = lead_answered;
    count(&t->fills);
    return l;
}

bool tier_refresh(struct tier *t, const struct guard_read *r) {
    struct flight_table *flights = &t->l1->shards[l1_shard_of(t->l1, r->key->hash)].flights;
    if (flight_find(flights, r->key) != NULL || write_on_its_way(t->writes, r->key)) {
        return false;
    }
    struct lead *l = lead_create(t, flight_begin(flights, r->key), r->key, r->loop, r->rule, r->rules);
    l->at = t->source_count; /* what is below is no newer */
    l->fetch.background = true;
    lead_load(l);
    return true;
}

/* ---- calls ---- */

static void join(struct fill *f, int i, int64_t now_ms) {
    struct l1 *l1 = f->tier->l1;
    const struct key *key = &f->keys[i];
    unsigned shard = l1_shard_of(l1, key->hash);
    struct flight_table *flights = &l1->shards[shard].flights;
    struct fill_wait *w = &f->waits[i];
    *w = (struct fill_wait){.waiter.wake = wait_wake, .msg.run = wait_arrived, .fill = f, .index = i, .pending = true};
    struct flight *flight = flight_find(flights, key);
    const struct rule *rule = f->rule_of != NULL ? f->rule_of[i] : NULL;
    if (flight == NULL) {
        flight = flight_begin(flights, key);
        struct item_view stale;
        w->lead = lead_create(f->tier, flight, key, f->loop, rule, f->rules);
        if (l1_get(l1, key, now_ms, L1_NOTOUCH | L1_STALE, &stale)) {
            w->lead->at = f->tier->source_count; /* what is below is no newer: the origin was meant */
        }
    } else {
        count(&f->tier->joined);
        if (rule != NULL && rule->target != NULL) {
            rule_count(rule, (unsigned)loop_id(f->loop), RULE_joined);
        }
    }
    list_push_back(&flight->waiters, &w->waiter.node);
    flight->waiting++;
    f->pending++;
}

enum { HOLD_AFTER_ROUNDS = 3 };

/* A change of the key is on its way to its origin: memory gets what it made of the key, for no other tier and not the origin has
 * anything newer. */
static bool look_at_writes(struct tier *t, const struct key *key, int64_t now_ms) {
    struct found found;
    struct item_extra extra;
    enum probe_result r = write_look(t->writes, key, &found);
    if (r == PROBE_FOUND) {
        /* what was purged since is what tiers had of the key: this is what the origin will have */
        if (item_extra_get(slice_make(found.extra, found.extra_n), &extra) && (extra.stamp != 0 || extra.tags > 0)) {
            extra.stamp = tier_last_purge(t);
            found.extra_n = (uint8_t)item_extra_put(&extra, found.extra);
        }
        (void)store(t, key, &found, now_ms); /* or its time is over */
        found_free(&found);
    }
    return r != PROBE_UNKNOWN;
}

/* Whether somebody slower must be asked for the key; what the sources' memory has becomes resident on the way. */
bool fill_needs(struct tier *t, const struct key *key, const struct rule *rule, int64_t now_ms, uint8_t *asked) {
    struct item_view view;
    bool here = l1_get(t->l1, key, now_ms, L1_NOTOUCH | L1_STALE, &view);
    if ((here && !view.stale) || look_at_writes(t, key, now_ms)) {
        return false;
    }
    enum probe_result r = !here && t->source_count != 0 ? tier_probe(t, key, now_ms, asked) : PROBE_ABSENT;
    if (r == PROBE_FOUND && !l1_get(t->l1, key, now_ms, L1_NOTOUCH, &view)) {
        r = PROBE_ABSENT; /* past its deadline there, too */
    }
    return r == PROBE_UNKNOWN || (r == PROBE_ABSENT && rule != NULL && rule->target != NULL);
}

static bool is_missing(const struct fill *f, int i, int64_t now_ms) {
    const struct rule *rule = f->rule_of != NULL ? f->rule_of[i] : NULL;
    uint8_t *asked = f->asked != NULL ? &f->asked[i] : NULL;
    return f->wanted[i] && (f->settled == NULL || !f->settled[i]) && fill_needs(f->tier, &f->keys[i], rule, now_ms, asked);
}

bool fill_begin(struct fill *f, int64_t now_ms) {
    int known = f->first_cold - 1; /* a look at the sources costs as much as all else here */
    ASSERT(f->pending == 0);
    f->first_cold = 0;
    for (int i = known < 0 ? 0 : known; i < f->n; i++) {
        if (i != known && !is_missing(f, i, now_ms)) {
            continue;
        }
        if (f->waits == NULL) { /* with what is known of each key behind them */
            f->waits = mem_zalloc((size_t)f->n * (sizeof(*f->waits) + sizeof(*f->settled) + sizeof(*f->asked)));
            f->settled = (uint8_t *)(f->waits + f->n);
            f->asked = f->settled + f->n;
        }
        join(f, i, now_ms);
    }
    if (f->pending > 0 && ++f->rounds == HOLD_AFTER_ROUNDS) { /* its keys push each other out */
        f->holds = true;
        l1_hold(f->tier->l1, true);
    }
    return f->pending > 0;
}

void fill_launch(struct fill *f, int64_t now_ms) {
    /* resume arrives as a message on this very thread, so f stays valid through the loop */
    for (int i = 0; i < f->n; i++) {
        struct lead *l = f->waits[i].lead;
        if (l != NULL) {
            f->waits[i].lead = NULL;
            l->fetch.background = f->background;
            l->fetch.deadline_ms = now_ms + f->tier->fill_deadline_ms;
            lead_ask(l);
        }
    }
}

/* Leaves the key's flight; false when that has landed: the answer is under way. */
static bool leave(struct fill *f, struct fill_wait *w) {
    struct l1 *l1 = f->tier->l1;
    const struct key *key = &f->keys[w->index];
    unsigned shard = l1_shard_of(l1, key->hash);
    l1_lock(l1, shard);
    bool waits = !w->waiter.landed;
    if (waits) {
        list_remove(&w->waiter.node);
        flight_find(&l1->shards[shard].flights, key)->waiting--;
    }
    l1_unlock(l1, shard);
    return waits;
}

/* A key that is waited for no longer, as failed; the tiers that were asked for it, as far as is known. True: it was the last one, the
 * call has been resumed, and f may be gone. */
static bool give_up(struct fill *f, struct fill_wait *w, uint8_t asked, const char *error) {
    bool last = f->pending == 1;
    w->settle = w->failed = true;
    w->asked = asked;
    w->error = error;
    wait_over(w);
    return last;
}

void fill_give_up(struct fill *f) {
    uint8_t asked = f->tier->source_count > 0 ? (uint8_t)(1 << f->tier->sources[0]->tier) : 0;
    int n = f->pending > 0 ? f->n : 0;
    for (int i = 0; i < n; i++) {
        struct fill_wait *w = &f->waits[i];
        if (w->pending && leave(f, w)) {
            count(&f->tier->late);
            if (give_up(f, w, asked, NULL)) {
                return;
            }
        }
    }
}

int64_t fill_tire(struct fill *f, int64_t waited_ms) {
    int64_t next_ms = 0;
    int n = f->pending > 0 && f->rule_of != NULL ? f->n : 0;
    for (int i = 0; i < n; i++) {
        struct fill_wait *w = &f->waits[i];
        const struct rule *rule = f->rule_of[i];
        int64_t most_ms = w->pending && rule != NULL && rule->target != NULL ? rule->opt.wait_ms : 0;
        if (most_ms > waited_ms) {
            next_ms = next_ms == 0 || most_ms < next_ms ? most_ms : next_ms;
        } else if (most_ms > 0 && leave(f, w)) {
            rule_count(rule, (unsigned)loop_id(f->loop), RULE_overdue);
            if (give_up(f, w, 1 << STAT_ORIGIN, "it takes longer than wait")) {
                return 0;
            }
        }
    }
    return next_ms;
}

void fill_end(struct fill *f) {
    ASSERT(f->pending == 0);
    mem_free(f->waits);
    f->settled = NULL;
    f->asked = NULL;
    f->waits = NULL;
    if (f->holds) {
        f->holds = false;
        l1_hold(f->tier->l1, false);
    }
}
