/* SPDX-License-Identifier: BSD-3-Clause */
/* fill: missing keys are fetched once, whoever waits. The call that finds no flight for its key leads one: it walks the chain
 * of sources; the others join. The flight belongs to neither, and ends when the chain does. */
#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/flight.h"
#include "src/l1/shard.h"
#include "src/rt/loop.h"
#include "src/tier/tier.h"

/* One key a fill waits for. */
struct fill_wait {
    struct waiter waiter;
    struct msg msg;
    struct fill *fill;
    struct lead *lead; /* the flight this wait leads, until fill_launch; else NULL */
    int index;
    bool settle; /* the answer is final for the call: absent, or failed */
    bool failed;
};

/* One flight's walk along the chain. */
struct lead {
    struct fetch fetch;
    struct tier *tier;
    struct flight *flight;
    unsigned shard;
    unsigned at; /* source being asked */
};

static void count(_Atomic uint64_t *c) {
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

static void wait_arrived(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct fill_wait *w = (struct fill_wait *)((char *)msg - offsetof(struct fill_wait, msg));
    struct fill *f = w->fill;
    if (w->settle) {
        f->settled[w->index] = w->failed ? FILL_FAILED : FILL_ABSENT;
        f->failed |= w->failed;
    }
    CHECK(f->pending > 0);
    if (--f->pending == 0) {
        f->resume(f);
    }
}

static void wait_wake(struct waiter *waiter) {
    struct fill_wait *w = LIST_ENTRY(waiter, struct fill_wait, waiter);
    loop_post(w->fill->loop, &w->msg);
}

/* Makes the key resident. False: expired, or no memory. Shard locked. Room for it is made after the call that wanted it has
 * run: made here it could cost another key of that call. */
static bool store(struct tier *t, const struct key *key, struct found *f, int64_t now_ms) {
    if (f->expire_ms != L1_NO_TTL && f->expire_ms <= now_ms) {
        return false;
    }
    if (f->value != NULL) {
        if (l1_set_value(t->l1, key, f->value, f->expire_ms, now_ms) != OK) {
            return false;
        }
        f->value = NULL; /* l1 has the reference */
    } else if (l1_set(t->l1, key, buf_slice(&f->str), f->expire_ms, f->raw ? L1_RAW : 0, now_ms) != OK) {
        return false;
    }
    if (f->same) {
        l1_set_below(t->l1, key, L1_BELOW_SAME);
    }
    return true;
}

enum probe_result tier_probe(struct tier *t, const struct key *key, int64_t now_ms) {
    for (unsigned i = 0; i < t->source_count; i++) {
        struct source *s = t->sources[i];
        struct found found = {.expire_ms = L1_NO_TTL};
        bool ask = s->probe != NULL && !atomic_load_explicit(&t->never_probe, memory_order_relaxed);
        enum probe_result r = ask ? s->probe(s, key, now_ms, &found) : PROBE_UNKNOWN;
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

/* The chain has ended: publish, end the flight, wake everyone. */
static void lead_finish(struct lead *l) {
    struct tier *t = l->tier;
    struct fetch *f = &l->fetch;
    struct list woken;
    list_init(&woken);
    l1_lock(t->l1, l->shard);
    bool overtaken = l->flight->overtaken;
    if (overtaken) {
        count(&t->dropped_late); /* the key was written meanwhile */
    } else if (f->result == FETCH_FOUND && !store(t, &f->key, &f->found, loop_now_ms(f->loop))) {
        f->result = FETCH_ABSENT;
    }
    flight_end(&t->l1->shards[l->shard].flights, l->flight, &woken);
    l1_unlock(t->l1, l->shard);
    count(f->result == FETCH_FOUND ? &t->found : f->result == FETCH_ABSENT ? &t->absent : &t->failed);
    for (struct list *n; (n = list_pop_front(&woken)) != NULL;) {
        struct fill_wait *w = LIST_ENTRY(n, struct fill_wait, waiter.node);
        /* after a write the call looks again: the writer's value counts, not the chain's word */
        w->settle = f->result != FETCH_FOUND && !overtaken;
        w->failed = f->result == FETCH_ERROR;
        w->waiter.wake(&w->waiter);
    }
    found_free(&f->found);
    mem_free(l);
}

static void lead_ask(struct lead *l) {
    struct source *s = l->tier->sources[l->at];
    l->fetch.result = FETCH_ABSENT;
    s->fetch(s, &l->fetch);
}

static void lead_answered(struct fetch *f) {
    struct lead *l = (struct lead *)((char *)f - offsetof(struct lead, fetch));
    if (f->result != FETCH_FOUND && l->at + 1 < l->tier->source_count) {
        l->at++;
        lead_ask(l);
        return;
    }
    lead_finish(l);
}

static void join(struct fill *f, int i) {
    struct l1 *l1 = f->tier->l1;
    const struct key *key = &f->keys[i];
    unsigned shard = l1_shard_of(l1, key->hash);
    struct flight_table *flights = &l1->shards[shard].flights;
    struct fill_wait *w = &f->waits[i];
    *w = (struct fill_wait){.waiter.wake = wait_wake, .msg.run = wait_arrived, .fill = f, .index = i};
    struct flight *flight = flight_find(flights, key);
    if (flight == NULL) {
        flight = flight_begin(flights, key);
        w->lead = mem_zalloc(sizeof(struct lead));
        *w->lead = (struct lead){.tier = f->tier, .flight = flight, .shard = shard};
        w->lead->fetch.key = (struct key){slice_make(flight->name, flight->name_len), key->hash, key->db};
        w->lead->fetch.loop = f->loop;
        w->lead->fetch.found.expire_ms = L1_NO_TTL;
        w->lead->fetch.done = lead_answered;
        count(&f->tier->fills);
    } else {
        count(&f->tier->joined);
    }
    list_push_back(&flight->waiters, &w->waiter.node);
    flight->waiting++;
    f->pending++;
}

enum { HOLD_AFTER_ROUNDS = 3 };

bool fill_begin(struct fill *f, int64_t now_ms) {
    struct item_view view;
    ASSERT(f->pending == 0);
    for (int i = 0; i < f->n; i++) {
        if (!f->wanted[i] || (f->settled != NULL && f->settled[i]) ||
            l1_get(f->tier->l1, &f->keys[i], now_ms, L1_NOTOUCH, &view) ||
            tier_probe(f->tier, &f->keys[i], now_ms) != PROBE_UNKNOWN) {
            continue;
        }
        if (f->settled == NULL) {
            f->settled = mem_zalloc((size_t)f->n * sizeof(*f->settled));
            f->waits = mem_zalloc((size_t)f->n * sizeof(*f->waits));
        }
        join(f, i);
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

void fill_end(struct fill *f) {
    ASSERT(f->pending == 0);
    mem_free(f->settled);
    mem_free(f->waits);
    f->settled = NULL;
    f->waits = NULL;
    if (f->holds) {
        f->holds = false;
        l1_hold(f->tier->l1, false);
    }
}
