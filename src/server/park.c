/* SPDX-License-Identifier: BSD-3-Clause */
/* park: calls that wait. */
#include "src/server/park.h"

#include <stdio.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/server/dispatch.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/txn.h"
#include "src/stats/errors.h"
#include "src/tier/write.h"

enum {
    READS_MISS = 1, /* its place among the choices of l2-read-overload */
    ROOM_BYTES = 512 /* for the arguments of most calls */
};

/* What a reply waits for; lives until the last acknowledgement. */
struct sync {
    struct sink_ack ack;
    struct msg msg;
    _Atomic int due; /* acknowledgements outstanding, plus one while the call runs */
    _Atomic bool refused;  /* an origin did not take a change; the first to say so wrote */
    char error[160];       /* "ORIGIN name: reason" */
    struct parked *parked; /* set before the call's own share of due is given back */
    struct job mapping;    /* of a call that changed the databases: writes that through */
};

static struct parked *parked_of(struct call *c) {
    return (struct parked *)((char *)c - offsetof(struct parked, call));
}

struct parked *park_detach(struct call *c) {
    if (c->detached) {
        return parked_of(c);
    }
    struct session *s = session_of(c->client);
    struct parked *p = mem_alloc(sizeof(*p) + ROOM_BYTES);
    memset(p, 0, sizeof(*p));
    arena_borrow(&p->arena, p->room, ROOM_BYTES);
    p->session = s;
    p->worker = s->worker;
    p->began = s->worker->lap;
    p->db = atomic_load_explicit(&s->client.db, memory_order_relaxed);
    list_init(&p->node);
    list_init(&p->hold.due.node);
    p->call = *c;
    c = &p->call;
    c->detached = true;
    c->input = NULL;
    c->adopted = NULL;
    c->arena = &p->arena;
    struct slice *argv = arena_alloc(&p->arena, (size_t)c->argc * sizeof(*argv));
    size_t bytes = 0;
    for (int i = 0; i < c->argc; i++) {
        char *copy = arena_alloc(&p->arena, c->argv[i].n);
        memcpy(copy, c->argv[i].p, c->argv[i].n);
        argv[i] = slice_make(copy, c->argv[i].n);
        bytes += c->argv[i].n;
    }
    c->argv = argv;
    if (c->rule_of != NULL) {
        const struct rule **rules = arena_alloc(&p->arena, (size_t)c->nkeys * sizeof(*rules));
        uint8_t *verdicts = arena_alloc(&p->arena, (size_t)c->nkeys);
        c->rule_of = memcpy(rules, c->rule_of, (size_t)c->nkeys * sizeof(*rules));
        c->verdicts = memcpy(verdicts, c->verdicts, (size_t)c->nkeys);
    }
    if (c->asked != NULL) {
        uint8_t *asked = arena_alloc(&p->arena, (size_t)c->nkeys);
        c->asked = memcpy(asked, c->asked, (size_t)c->nkeys);
    }
    atomic_store_explicit(&s->client.arg_bytes, bytes, memory_order_relaxed);
    if (txn_is_exec(c)) {
        txn_find_keys(c);
    } else {
        CHECK(call_find_keys(c, NULL, NULL));
    }
    STAT_ADD(c->stats->parked_calls, 1);
    return p;
}

void park_free(struct parked *p) {
    if (p->call.state != NULL && p->call.state_free != NULL) {
        p->call.state_free(p->call.state);
    }
    list_remove(&p->node);
    if (p->timer != NULL) {
        timer_destroy(&p->timer);
    }
    fill_end(&p->fill);
    out_free(&p->held);
    out_free(&p->hold.due.before);
    out_free(&p->hold.due.reply);
    arena_free(&p->arena);
    mem_free(p);
}

void park_done(struct parked *p) {
    struct session *s = p->session;
    s->parked = NULL;
    client_flag(&s->client, CLIENT_BLOCKED, false);
    atomic_store_explicit(&s->client.arg_bytes, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&p->call.host->blocked_clients, 1, memory_order_relaxed);
    park_free(p);
    session_go_on(s);
}

void park_orphan(struct parked *p) {
    atomic_fetch_sub_explicit(&p->call.host->blocked_clients, 1, memory_order_relaxed);
    park_orphan_free(p);
}

void park_orphan_free(struct parked *p) {
    p->session = NULL;
    if (p->why != PARK_FILL && p->why != PARK_JOB && p->why != PARK_ACKS) {
        park_free(p);
    } /* else what it waits for still points at it, and frees it on arrival */
}

static void block(struct session *s, struct parked *p, enum park why) {
    p->why = why;
    if (s->parked == NULL && !p->hold.held && why != PARK_HOLD) {
        s->parked = p;
        client_flag(&s->client, CLIENT_BLOCKED, true);
        atomic_fetch_add_explicit(&p->call.host->blocked_clients, 1, memory_order_relaxed);
    }
}

uint64_t park_ticks(const struct call *c, uint64_t now) {
    return now - parked_of((struct call *)(uintptr_t)c)->began;
}

uint64_t park_filling(const struct call *c) {
    return c->detached ? parked_of((struct call *)(uintptr_t)c)->filling : 0;
}

/* ---- fill ---- */

static void fill_resumed(struct fill *f) {
    struct parked *p = (struct parked *)((char *)f - offsetof(struct parked, fill));
    p->filling += clock_ticks() - p->asleep_since;
    if (p->session == NULL) {
        park_free(p);
        return;
    }
    dispatch_again(p);
}

static void fill_overdue(void *ctx);

static void arm_fill(struct parked *p, int64_t ms) {
    if (p->timer == NULL) {
        p->timer = timer_create_on(p->worker->loop, fill_overdue, p);
    }
    timer_start(p->timer, ms > 0 ? ms : 1, 0);
}

/* How long the call has waited for its keys, in all rounds of it. */
static int64_t waited_ms(struct parked *p) {
    int64_t now_ms = loop_mono_us(p->worker->loop) / 1000;
    p->waits_since_ms = p->waits_since_ms != 0 ? p->waits_since_ms : now_ms;
    return now_ms - p->waits_since_ms;
}

/* The disk, or an origin, has taken longer than a client is to wait for it. */
static void fill_overdue(void *ctx) {
    struct parked *p = ctx;
    int64_t waited = waited_ms(p), next;
    if (p->why != PARK_FILL) {
        return;
    }
    if (p->call.rule_of == NULL) {
        fill_give_up(&p->fill);
    } else if ((next = fill_tire(&p->fill, waited)) > 0) {
        arm_fill(p, next - waited);
    }
}

static void watch_fill(struct parked *p) {
    const struct conf *conf = p->worker->conf;
    int64_t waited = waited_ms(p);
    if (p->call.rule_of != NULL) { /* an origin has bounds of its own, and perhaps its policy's */
        int64_t first = fill_tire(&p->fill, 0);
        if (first > 0) {
            arm_fill(p, first - waited);
        }
    } else if (conf->l2_read_overload == READS_MISS) {
        arm_fill(p, conf->l2_read_deadline);
    }
}

/* Filling it would find nothing. */
static bool is_known(const struct call *c, int i) {
    return c->rule_of != NULL && c->verdicts[i] == GUARD_KNOWN;
}

/* The rule whose origin is asked for the key at last, or NULL. */
static const struct rule *loader_of(const struct call *c, int i) {
    bool loads = c->rule_of != NULL && !(c->peer & PEER_NODE) && c->verdicts[i] != GUARD_FILTERED;
    return loads && !hold_only_drops(c, i) ? c->rule_of[i] : NULL;
}

/* For the statistics, and for who wants to know: tiers that were asked for key i. */
static void note_asked(struct call *c, int i, uint8_t asked) {
    if (asked != 0 && c->asked == NULL) {
        c->asked = arena_alloc(c->arena, (size_t)c->nkeys);
        memset(c->asked, 0, (size_t)c->nkeys);
    }
    if (asked != 0) {
        c->asked[i] |= asked;
        c->far = true;
    }
}

/* The first key that must be fetched, counted from 1, or 0; what the sources' memory has becomes resident on the way. */
static int first_cold(struct call *c, struct tier *tier) {
    const struct parked *p = c->detached ? parked_of(c) : NULL;
    for (int i = 0; i < c->nkeys; i++) {
        bool wanted = c->access[i] == KEY_R || c->access[i] == KEY_RW || c->access[i] == KEY_M;
        bool filled = p != NULL && p->fill.settled != NULL;
        uint8_t asked = filled ? p->fill.asked[i] : 0;
        bool cold = wanted && !(filled && p->fill.settled[i]) && !is_known(c, i) &&
                    fill_needs(tier, &c->keys[i], loader_of(c, i), c->now_ms, &asked);
        note_asked(c, i, asked);
        if (cold) {
            return i + 1;
        }
    }
    return 0;
}

/* Options may turn an overwrite into a read (SET ... GET): only a fill needs to know. */
static void adjust_access(struct call *c) {
    if (c->cmd->row->adjust != NULL && c->nkeys == 1) {
        int pos;
        enum key_access access;
        cmd_keys(c->cmd, c->argv, c->argc, &pos, &access, 1);
        c->access[0] = (uint8_t)access;
    }
}

/* A key nobody could tell anything of counts as absent. A call that may write it, or say that there was nothing to write, makes
 * that true below as well, or an older value might come back after the reply; also if it is still on its way. */
static void settle_failed(struct call *c, struct tier *tier) {
    const struct fill *f = &parked_of(c)->fill;
    struct item_view view;
    for (int i = 0; i < c->nkeys; i++) {
        bool asks = c->rule_of != NULL && c->rule_of[i] != NULL && c->rule_of[i]->target != NULL; /* an origin: the call is refused */
        if (f->settled[i] == FILL_FAILED && c->access[i] == KEY_RW && !(asks && f->error != NULL) &&
            !l1_get(c->l1, &c->keys[i], c->now_ms, L1_NOTOUCH, &view)) {
            l1_del_below(c->l1, &c->keys[i]);
            park_commit(c, tier, SINK_DEL, &c->keys[i]);
        }
    }
}

bool park_for_fill(struct call *c, struct worker *w) {
    c->step = STEP_FILL;
    adjust_access(c);
    int cold = first_cold(c, &w->server->tier);
    if (cold == 0) {
        if (unlikely(c->detached && parked_of(c)->fill.failed)) {
            settle_failed(c, &w->server->tier);
        }
        return false;
    }
    struct parked *p = park_detach(c);
    c = &p->call;
    if (p->wanted == NULL) {
        p->wanted = arena_alloc(&p->arena, (size_t)c->nkeys * sizeof(*p->wanted));
        p->loaders = arena_alloc(&p->arena, (size_t)c->nkeys * sizeof(*p->loaders));
        p->fill = (struct fill){.tier = &w->server->tier,
                                .loop = w->loop,
                                .wanted = p->wanted,
                                .resume = fill_resumed};
    }
    for (int i = 0; i < c->nkeys; i++) { /* what is known of a key may have changed since the call first ran */
        p->loaders[i] = loader_of(c, i);
        p->wanted[i] = !is_known(c, i) && (c->access[i] == KEY_R || c->access[i] == KEY_RW || c->access[i] == KEY_M);
    }
    p->fill.keys = c->keys;
    p->fill.n = c->nkeys;
    p->fill.rules = c->rules;
    p->fill.rule_of = p->loaders;
    p->fill.first_cold = cold;
    CHECK(fill_begin(&p->fill, c->now_ms));
    w->parking = (struct parking){.why = PARK_FILL, .parked = p};
    return true;
}

/* ---- the handler parked ---- */

static void sleep_over(void *ctx) {
    struct parked *p = ctx;
    struct session *s = p->session;
    size_t out_n = s->out.buf.n;
    uint32_t out_refs = s->out.ref_count;
    reply_ok(&s->out);
    dispatch_replied(s, &p->call, out_n, out_refs);
    park_done(p);
    session_want_flush(s);
}

static void job_done(struct job *job) {
    struct parked *p = ((struct call_job *)job)->parked;
    if (p->session == NULL) {
        park_free(p);
        return;
    }
    dispatch_again(p);
}

static void start_job(struct parked *p, struct call_job *j) {
    j->parked = p;
    j->job.loop = p->worker->loop;
    j->job.done = job_done;
    j->refused = !pool_submit(j->pool != NULL ? j->pool : p->call.host->pool, 0, &j->job);
    if (j->refused) {
        p->why = PARK_YIELD;
        list_push_back(&p->worker->yielded, &p->node);
    }
}

void park_call(struct session *s, struct call *c, uint64_t ticks) {
    struct worker *w = s->worker;
    struct parking how = w->parking;
    w->parking = (struct parking){0};
    (void)ticks;
    struct parked *p = how.parked != NULL ? how.parked : park_detach(c);
    block(s, p, how.why);
    p->asleep_since = w->lap;
    switch (how.why) {
    case PARK_FILL:
        fill_launch(&p->fill, p->call.now_ms);
        watch_fill(p);
        return;
    case PARK_YIELD:
        list_push_back(&w->yielded, &p->node);
        return;
    case PARK_JOB:
        start_job(p, how.job);
        return;
    case PARK_HOLD:
        hold_begin(s, p, how.ms);
        return;
    case PARK_SLEEP:
        p->timer = timer_create_on(w->loop, sleep_over, p);
        timer_start(p->timer, how.ms, 0);
        return;
    default:
        UNREACHABLE();
    }
}

/* ---- pause ---- */

static bool held_by_pause(const struct server *srv, const struct call *c) {
    int64_t until = atomic_load_explicit(&srv->pause_until_ms, memory_order_relaxed);
    if (until == 0 || c->now_ms >= until) {
        return false;
    }
    uint32_t flags = c->cmd->flags | (txn_is_exec(c) ? txn_flags(c) : 0);
    return (flags & (CMD_WRITE | CMD_MAY_REPLICATE)) || !atomic_load_explicit(&srv->pause_writes_only, memory_order_relaxed);
}

bool park_while_paused(struct session *s, struct call *c) {
    struct worker *w = s->worker;
    if (!held_by_pause(w->server, c)) {
        return false;
    }
    struct parked *p = park_detach(c);
    block(s, p, PARK_PAUSE);
    list_push_back(&w->paused, &p->node);
    int64_t until = atomic_load_explicit(&w->server->pause_until_ms, memory_order_relaxed);
    timer_start(w->pause_timer, until - c->now_ms + 1, 0);
    return true;
}

void park_wake_paused(struct worker *w) {
    struct list now;
    list_init(&now);
    for (struct list *n; (n = list_pop_front(&w->paused)) != NULL;) {
        list_push_back(&now, n);
    }
    for (struct list *n; (n = list_pop_front(&now)) != NULL;) {
        dispatch_again(LIST_ENTRY(n, struct parked, node));
    }
}

/* ---- acknowledgements: of the sinks for each changed key, and of a thread that writes through a change of the databases ---- */

/* The reply is made: out, unless a change was not taken. Then its error, once. */
static void answer(struct call *c, struct session *s, struct out *out) {
    const struct sync *sync = c->sync;
    if (likely(sync == NULL || !sync->refused)) {
        out_append(&s->out, out);
        return;
    }
    struct slice text = slice_cstr(sync->error);
    out_truncate(out, 0, 0);
    reply_error(&s->out, text);
    STAT_ADD(c->stats->total_error_replies, 1);
    error_counts_add(c->host->errors, text);
}

static void acks_arrived(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct sync *sync = (struct sync *)((char *)msg - offsetof(struct sync, msg));
    struct parked *p = sync->parked;
    if (p->session == NULL) {
        mem_free(sync);
        park_free(p);
        return;
    }
    struct session *s = p->session;
    size_t out_n = s->out.buf.n;
    uint32_t out_refs = s->out.ref_count;
    dispatch_acknowledged(&p->call, p->worker, p->asleep_since);
    answer(&p->call, s, &p->held);
    mem_free(sync);
    dispatch_replied(s, &p->call, out_n, out_refs);
    park_done(p);
    session_want_flush(s);
}

static bool give_back(struct sync *sync) {
    return atomic_fetch_sub_explicit(&sync->due, 1, memory_order_acq_rel) == 1;
}

static void ack_done(struct sink_ack *ack) {
    struct sync *sync = (struct sync *)ack;
    if (give_back(sync)) {
        loop_post(ack->loop, &sync->msg);
    }
}

static void ack_failed(struct sink_ack *ack, const char *origin, const char *error) {
    struct sync *sync = (struct sync *)ack;
    if (!atomic_exchange(&sync->refused, true)) {
        snprintf(sync->error, sizeof(sync->error), "ORIGIN %s: %s", origin, error);
    }
}

void park_hold_reply(struct session *s, struct call *c) {
    struct worker *w = s->worker;
    if (unlikely(w->server->tier.acks || (c->rules != NULL && c->rules->writes > 0))) {
        w->held.proto = s->out.proto;
        c->out = &w->held;
    }
}

static struct sync *sync_of(struct call *c) {
    struct sync *sync = c->sync;
    if (sync == NULL) {
        sync = mem_zalloc(sizeof(*sync));
        sync->ack = (struct sink_ack){session_of(c->client)->worker->loop, ack_done, ack_failed};
        sync->msg.run = acks_arrived;
        atomic_init(&sync->due, 1);
        c->sync = sync;
    }
    return sync;
}

void park_commit(struct call *c, struct tier *tier, enum sink_change change,
                 const struct key *key) {
    int acks = 0;
    if (!tier->acks) {
        tier_commit(tier, change, key, c->now_ms, NULL, &acks);
        return;
    }
    struct sync *sync = sync_of(c);
    for (unsigned i = 0; i < tier->sink_count; i++) {
        atomic_fetch_add_explicit(&sync->due, 1, memory_order_relaxed);
    }
    tier_commit(tier, change, key, c->now_ms, &sync->ack, &acks);
    atomic_fetch_sub_explicit(&sync->due, (int)tier->sink_count - acks, memory_order_relaxed);
}

void park_write(struct call *c, struct tier *tier, const struct rule *rule, const struct key *key) {
    struct sync *sync = sync_of(c);
    atomic_fetch_add_explicit(&sync->due, 1, memory_order_relaxed);
    write_changed(tier->writes, rule, c->rules, key, session_of(c->client)->worker->id, c->now_ms, &sync->ack);
}

static void run_mapping(struct job *job) {
    struct sync *sync = (struct sync *)((char *)job - offsetof(struct sync, mapping));
    struct tier *tier = &sync->parked->worker->server->tier;
    for (unsigned i = 0; i < tier->sink_count; i++) {
        struct sink *s = tier->sinks[i];
        if (s->sync != NULL) {
            s->sync(s);
        }
    }
}

static void mapping_done(struct job *job) {
    struct sync *sync = (struct sync *)((char *)job - offsetof(struct sync, mapping));
    ack_done(&sync->ack);
}

static void start_mapping(struct parked *p, struct sync *sync) {
    sync->mapping = (struct job){.run = run_mapping, .done = mapping_done};
    if (!pool_submit(p->call.host->pool, 0, &sync->mapping)) {
        list_push_back(&p->worker->yielded, &p->node); /* no room: next turn */
    }
}

void park_release_reply(struct session *s, struct call *c) {
    if (likely(c->out == &s->out)) {
        return;
    }
    if (unlikely(c->remapped)) {
        atomic_fetch_add_explicit(&sync_of(c)->due, 1, memory_order_relaxed);
    }
    struct sync *sync = c->sync;
    if (sync != NULL && atomic_load_explicit(&sync->due, memory_order_acquire) > 1) {
        struct parked *p = park_detach(c);
        out_append(&p->held, c->out);
        p->call.out = &s->out;
        p->asleep_since = s->worker->lap;
        block(s, p, PARK_ACKS);
        sync->parked = p;
        if (unlikely(p->call.remapped)) {
            start_mapping(p, sync);
        }
        if (give_back(sync)) {
            loop_post(sync->ack.loop, &sync->msg);
        }
        return;
    }
    answer(c, s, c->out);
    mem_free(sync);
    c->sync = NULL;
    c->out = &s->out;
}

/* ---- calls that had no room, or let others go first ---- */

void park_run_yielded(struct worker *w) {
    struct list now;
    list_init(&now);
    for (struct list *n; (n = list_pop_front(&w->yielded)) != NULL;) {
        list_push_back(&now, n); /* one that yields again waits for the next turn */
    }
    for (struct list *n; (n = list_pop_front(&now)) != NULL;) {
        struct parked *p = LIST_ENTRY(n, struct parked, node);
        if (p->why == PARK_ACKS) { /* its job had found no room */
            start_mapping(p, p->call.sync);
        } else {
            dispatch_again(p);
        }
    }
}
