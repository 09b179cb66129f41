/* SPDX-License-Identifier: BSD-3-Clause */
/* hold: the guard's verdicts carried out. */
#include "src/server/hold.h"

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"
#include "src/server/dispatch.h"
#include "src/server/park.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/txn.h"
#include "src/server/worker.h"
#include "src/tier/write.h"

/* Clients that want no replies, or are not in a state to get them out of turn. */
enum { UNUSUAL = CLIENT_MULTI | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT | CLIENT_CLOSE_AFTER_REPLY };

static struct parked *parked_of_call(struct call *c) {
    return (struct parked *)((char *)c - offsetof(struct parked, call));
}

static struct parked *parked_of_hold(struct hold *h) {
    return (struct parked *)((char *)h - offsetof(struct parked, hold));
}

static void on_woken(struct loop *loop, struct msg *msg);

/* The lease has ended: the call runs again on its own loop. */
static void wake(struct lease_waiter *waiter) {
    struct hold *h = LIST_ENTRY(waiter, struct hold, waiter);
    loop_post(parked_of_hold(h)->worker->loop, &h->woken);
}

/* ---- reads ---- */

/* A client's only key was let go: its connection holds the lease. */
static void note_ticket(struct session *s, const struct guard_read *r) {
    if (r->granted) {
        struct holder *h = &s->holder;
        h->tickets[h->next_ticket++ % TICKETS_MAX] = (struct lease_ticket){r->lease->hash, r->lease->token};
    }
}

static bool is_held(const struct call *c) {
    return c->detached && parked_of_call((struct call *)(uintptr_t)c)->hold.held;
}

/* Held replies of the call's client but its own. A client with one may not be let go to load: it would not hear of it. */
static unsigned others_held(const struct call *c) {
    return session_of(c->client)->dues.count - is_held(c);
}

/* Whether there is a client to be let go, or made to wait, in the state to get replies out of turn: never both at once, for two
 * clients that load for one another would wait for each other. */
static bool may_wait(const struct call *c) {
    bool loading = lease_owner_live(session_of(c->client)->holder.owner, c->now_ms) > 0;
    bool in_time = !c->waited && (!is_held(c) || parked_of_call((struct call *)(uintptr_t)c)->hold.until_ms > c->now_ms);
    return !c->in_exec && !loading && in_time && others_held(c) < HOLDS_MAX && !client_is(c->client, UNUSUAL);
}

/* Nobody could tell, or not in time, whether there is key i. */
static bool has_failed(struct call *c, int i) {
    const uint8_t *settled = c->detached ? parked_of_call(c)->fill.settled : NULL;
    return settled != NULL && settled[i] == FILL_FAILED;
}

static struct guard_read read_of(struct call *c, struct worker *w, int i) {
    const struct holder *h = &session_of(c->client)->holder;
    /* what EXEC runs, writes from what it reads (COPY), or hands on elsewhere (DUMP) gets fresh values only */
    bool value = c->access[i] == KEY_R && (c->cmd->flags & CMD_READONLY) && !(c->cmd->flags & CMD_FRESH) && !txn_is_exec(c);
    bool alone = value && c->nkeys == 1 && !(c->cmd->flags & CMD_LEASES) && !client_is(c->client, UNUSUAL);
    return (struct guard_read){
        .key = &c->keys[i],
        .rule = c->rule_of[i],
        .rules = c->rules,
        .loop = w->loop,
        .loop_id = w->id,
        .now_ms = c->now_ms,
        .value = value,
        .again = c->detached,
        .failed = has_failed(c, i),
        .held = is_held(c),
        .may_lease = alone && others_held(c) == 0 && lease_owner_live(h->owner, c->now_ms) < TICKETS_MAX,
        .may_wait = alone && may_wait(c),
        .owner = h->owner};
}

/* The rules of the call's keys; false when none has one. */
static bool find_rules(struct call *c) {
    c->rule_of = NULL;
    c->matched = true;
    for (int i = 0; i < c->nkeys; i++) {
        const struct rule *rule = rules_match(c->rules, c->keys[i].name);
        if (rule != NULL && c->rule_of == NULL) {
            size_t n = (size_t)c->nkeys;
            c->rule_of = arena_alloc(c->arena, n * sizeof(*c->rule_of));
            memset(c->rule_of, 0, n * sizeof(*c->rule_of));
            c->verdicts = arena_alloc(c->arena, n);
            memset(c->verdicts, GUARD_GO, n);
        }
        if (c->rule_of != NULL) {
            c->rule_of[i] = rule;
        }
    }
    return c->rule_of != NULL;
}

bool hold_only_drops(const struct call *c, int i) {
    return (c->cmd->flags & CMD_DROPS) && c->rule_of[i] != NULL && c->rule_of[i]->opt.write == WRITE_OFF;
}

/* The guards have a say: the call needs the key's value, or to know whether there is one. */
static bool is_wanted(const struct call *c, int i) {
    if (hold_only_drops(c, i)) {
        return false;
    }
    return c->access[i] == KEY_R || c->access[i] == KEY_RW || c->access[i] == KEY_M;
}

/* The call will wait for the lease, and for others after it, at most so long in all; shard locked. */
static void join(struct call *c, struct lease *lease, int64_t most_ms) {
    struct parked *p = park_detach(c);
    struct hold *h = &p->hold;
    if (!h->held) {
        h->until_ms = c->now_ms + most_ms;
        h->waiter.wake = wake;
        h->woken.run = on_woken;
    }
    lease_join(lease, &h->waiter);
    int64_t end_ms = h->until_ms < lease->deadline_ms ? h->until_ms : lease->deadline_ms;
    p->worker->parking = (struct parking){.why = PARK_HOLD, .parked = p, .ms = end_ms - c->now_ms};
}

static enum err refuse(struct call *c, const char *origin, const char *error) {
    if (txn_is_exec(c)) {
        txn_drop(c);
        return call_errorf(c, "EXECABORT Transaction discarded because of: ORIGIN %s: %s", origin, error);
    }
    return call_errorf(c, "ORIGIN %s: %s", origin, error);
}

/* Changes that cannot be sent to their origins are refused before they are made. */
static enum err may_write(struct call *c, struct worker *w) {
    bool writes = c->rules->writes > 0 && (c->cmd->flags & CMD_WRITE || txn_is_exec(c));
    for (int i = 0; writes && i < c->nkeys; i++) {
        const struct rule *rule = c->rule_of[i];
        bool changes = c->access[i] == KEY_RW || c->access[i] == KEY_W;
        const char *why = changes && rule != NULL ? write_refuses(w->server->tier.writes, rule) : NULL;
        if (why != NULL) {
            return refuse(c, rule->opt.origin, why);
        }
    }
    return OK;
}

enum err hold_before(struct call *c, struct worker *w) {
    c->see = SEE_FRESH;
    if (!find_rules(c)) {
        return OK;
    }
    struct guard *g = w->server->tier.guard;
    enum err refused = may_write(c, w);
    if (refused != OK) {
        return refused;
    }
    for (int i = 0; i < c->nkeys; i++) {
        if (c->rule_of[i] == NULL || !is_wanted(c, i)) {
            continue;
        }
        struct session *s = session_of(c->client);
        if (c->access[i] == KEY_R && c->nkeys == 1 && s->holder.owner == NULL && rule_leases(c->rule_of[i])) {
            s->holder.owner = lease_owner_create(c->client->id);
        }
        struct guard_read r = read_of(c, w, i);
        enum guard_verdict v = guard_before(g, &r);
        c->see = (uint8_t)(r.see > c->see ? r.see : c->see);
        c->far |= c->see != SEE_FRESH;
        c->verdicts[i] = (uint8_t)v;
        if (r.value && !r.again) {
            bool known = v == GUARD_KNOWN && r.see == SEE_FRESH, filtered = v == GUARD_FILTERED;
            STAT_ADD(c->stats->tiers[STAT_L1].negative, known);
            STAT_ADD(c->stats->tiers[STAT_ORIGIN].negative, filtered);
            STAT_ADD(stats_more(&c->stats->commands[c->cmd->id])->negative, known || filtered);
        }
        note_ticket(s, &r);
        if (v == GUARD_ERROR) {
            return refuse(c, c->rule_of[i]->opt.origin, r.error);
        }
    }
    return OK;
}

/* An origin did not give a key, and nobody else has meanwhile. */
static enum err failed_load(struct call *c) {
    const struct fill *f = &parked_of_call(c)->fill;
    struct item_view view;
    for (int i = 0; i < c->nkeys && f->error != NULL; i++) {
        if (has_failed(c, i) && c->verdicts[i] != GUARD_KNOWN && c->rule_of[i] != NULL && c->rule_of[i]->target != NULL &&
            !l1_get(c->l1, &c->keys[i], c->now_ms, L1_NOTOUCH, &view)) {
            return refuse(c, c->rule_of[i]->opt.origin, f->error);
        }
    }
    return OK;
}

enum err hold_after(struct call *c, struct worker *w) {
    if (c->rule_of == NULL) {
        return OK;
    }
    if (c->detached) {
        if (parked_of_call(c)->fill.passing) {
            c->see = SEE_STALE;
            c->far = true;
        }
        enum err e = failed_load(c);
        if (e != OK) {
            return e;
        }
    }
    if (c->nkeys != 1 || c->verdicts[0] == GUARD_FILTERED || c->access[0] != KEY_R || c->waited || (c->cmd->flags & (CMD_LEASES | CMD_FRESH)) || !rule_leases(c->rule_of[0]) || c->see == SEE_NOTHING) {
        return OK;
    }
    struct session *s = session_of(c->client);
    struct guard_read r = read_of(c, w, 0);
    enum guard_verdict v = guard_after(w->server->tier.guard, &r);
    c->see = (uint8_t)r.see;
    c->far |= c->see != SEE_FRESH;
    note_ticket(s, &r);
    if (v != GUARD_WAIT) {
        return OK;
    }
    join(c, r.lease, c->rule_of[0]->opt.wait_ms);
    return ERR_PARKED;
}

bool hold_may_lease(struct call *c) {
    return others_held(c) == 0;
}

bool hold_for(struct call *c, struct lease *lease, int64_t ms) {
    bool waits = may_wait(c);
    if (waits) {
        join(c, lease, ms);
    }
    return waits;
}

const struct rule *hold_changed(struct call *c, int i, enum key_change change) {
    struct worker *w = session_of(c->client)->worker;
    static const enum sink_change as[] = {[CHANGE_SET] = SINK_SET, [CHANGE_DEL] = SINK_DEL, [CHANGE_EXPIRE] = SINK_EXPIRE};
    struct guard *g = w->server->tier.guard;
    const struct rule *rule = call_rule(c, i);
    guard_changed(g, rule, &c->keys[i], as[change], w->id, c->now_ms);
    if (unlikely(c->rules != NULL && c->rules->filters > 0)) {
        guard_seen(g, c->rules, &c->keys[i], c->now_ms);
    }
    return rule;
}

/* ---- held replies ---- */

static void forget_timer(struct hold *h) {
    if (h->timer != NULL) {
        timer_destroy(&h->timer);
    }
}

static void finish_hold(struct hold *h) {
    struct session *s = parked_of_hold(h)->session;
    forget_timer(h);
    atomic_fetch_sub_explicit(&parked_of_hold(h)->call.host->blocked_clients, 1, memory_order_relaxed);
    due_done(s, &h->due);
}

void hold_again(struct parked *p) {
    struct worker *w = p->worker;
    struct call *c = &p->call;
    dispatch_refresh(c, w);
    p->filling += clock_ticks() - p->asleep_since;
    c->out = &p->hold.due.reply;
    p->why = PARK_NONE;
    if (!dispatch_held(c, w)) {
        return; /* waits again: park_call has seen to it */
    }
    finish_hold(&p->hold);
}

static void on_woken(struct loop *loop, struct msg *msg) {
    (void)loop;
    struct hold *h = (struct hold *)((char *)msg - offsetof(struct hold, woken));
    struct parked *p = parked_of_hold(h);
    if (h->orphan) {
        park_free(p);
        return;
    }
    forget_timer(h);
    hold_again(p);
}

/* The lease's time is over: all who wait for it are woken, this one too. Or only this call's. */
static void on_deadline(void *ctx) {
    struct parked *p = ctx;
    struct call *c = &p->call;
    struct guard *g = p->worker->server->tier.guard;
    int64_t now_ms = loop_now_ms(p->worker->loop);
    unsigned shard = l1_shard_of(c->l1, c->keys[0].hash);
    l1_lock(c->l1, shard);
    struct lease *l = p->hold.waiter.woken ? NULL : lease_find(&g->leases[shard], &c->keys[0]);
    bool alone = l != NULL && l->deadline_ms > now_ms + 1;
    const struct rule *rule = rules_match(p->worker->rules, c->keys[0].name);
    if (alone) {
        lease_leave(l, &p->hold.waiter);
        if (rule != NULL) {
            rule_count(rule, p->worker->id, RULE_waits_expired);
        }
    } else if (l != NULL) {
        guard_expire_lease(g, rule, l, p->worker->id, now_ms > l->deadline_ms ? now_ms : l->deadline_ms);
    }
    l1_unlock(c->l1, shard);
    if (alone) {
        c->waited = true;
        forget_timer(&p->hold);
        hold_again(p);
    }
}

/* ---- a hold's life ---- */

static void drop_hold(struct due *d) {
    struct hold *h = LIST_ENTRY(d, struct hold, due);
    struct parked *p = parked_of_hold(h);
    struct call *c = &p->call;
    forget_timer(h);
    p->session = NULL;
    if (d->done) {
        park_free(p);
        return;
    }
    atomic_fetch_sub_explicit(&c->host->blocked_clients, 1, memory_order_relaxed);
    if (p->why != PARK_HOLD) {
        park_orphan_free(p);
        return;
    }
    unsigned shard = l1_shard_of(c->l1, c->keys[0].hash);
    l1_lock(c->l1, shard);
    bool woken = h->waiter.woken;
    if (!woken) {
        lease_leave(lease_find(&p->worker->server->tier.guard->leases[shard], &c->keys[0]), &h->waiter);
    }
    l1_unlock(c->l1, shard);
    h->orphan = woken;
    if (!woken) {
        park_free(p);
    }
}

static void sent(struct due *d) {
    park_free(parked_of_hold(LIST_ENTRY(d, struct hold, due)));
}

void hold_begin(struct session *s, struct parked *p, int64_t ms) {
    struct hold *h = &p->hold;
    if (!h->held) {
        h->held = true;
        h->due.tag = p->call.tag;
        h->due.release = sent;
        h->due.orphan = drop_hold;
        due_begin(s, &h->due);
        atomic_fetch_add_explicit(&p->call.host->blocked_clients, 1, memory_order_relaxed);
        atomic_store_explicit(&s->client.arg_bytes, 0, memory_order_relaxed);
    }
    h->timer = timer_create_on(p->worker->loop, on_deadline, p);
    timer_start(h->timer, ms > 0 ? ms : 1, 0);
}

void hold_close(struct session *s) {
    if (s->holder.owner != NULL) {
        if (lease_owner_live(s->holder.owner, loop_now_ms(s->worker->loop)) > 0) {
            unsigned n = s->holder.next_ticket < TICKETS_MAX ? s->holder.next_ticket : TICKETS_MAX;
            guard_abandon(s->worker->server->tier.guard, s->holder.tickets, n);
        }
        lease_owner_unref(s->holder.owner);
        s->holder.owner = NULL;
    }
}
