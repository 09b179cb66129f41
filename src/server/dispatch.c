/* SPDX-License-Identifier: BSD-3-Clause */
/* dispatch: the six steps of a call, for calls in the window. Parking is in park.c. */
#include "src/server/dispatch.h"

#include <stdio.h>

#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/l1/shard.h"
#include "src/server/channel.h"
#include "src/server/monitor.h"
#include "src/server/park.h"
#include "src/server/route.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/sighting.h"
#include "src/server/txn.h"
#include "src/stats/errors.h"
#include "src/stats/latency.h"
#include "src/stats/slowlog.h"

enum { EVICT_PER_WRITE = 64 /* victims a single write may pay for: its value may be as large as all of them */ };

/* ---- resolve ---- */

static int logical_db(const struct call *c) {
    const struct parked *p = (const struct parked *)((const char *)c - offsetof(struct parked, call));
    return unlikely(c->detached) ? p->db : atomic_load_explicit(&c->client->db, memory_order_relaxed);
}

static uint8_t physical_db(const struct call *c) {
    return c->l1->db_map[logical_db(c)];
}

int keys_of_line(struct call *c, const struct cmd *cmd, const struct slice *argv, int argc, int db, struct key *keys,
                 uint8_t *access, int max) {
    int n = cmd_keys(cmd, argv, argc, NULL, NULL, 0);
    if (n <= 0) {
        return n;
    }
    int other = cmd->row->other_db != NULL ? cmd->row->other_db(argv, argc) : -1;
    bool elsewhere = other >= 0 && other < c->conf->databases, second = elsewhere && n == 1;
    if (keys == NULL) {
        return n + second;
    }
    int *pos = arena_alloc(c->arena, (size_t)n * sizeof(*pos));
    enum key_access *found = arena_alloc(c->arena, (size_t)n * sizeof(*found));
    cmd_keys(cmd, argv, argc, pos, found, n);
    for (int i = 0; i < n + second && i < max; i++) {
        bool there = elsewhere && i == n + second - 1;
        int at = i < n ? i : n - 1;
        keys[i] = key_make(argv[pos[at]], c->l1->db_map[there ? other : db]);
        access[i] = (uint8_t)(there ? KEY_RW : found[at]);
    }
    return n + second;
}

static NEVER_INLINE bool find_many_keys(struct call *c) {
    int db = logical_db(c);
    int n = keys_of_line(c, c->cmd, c->argv, c->argc, db, NULL, NULL, 0);
    if (n < 0) {
        return false;
    }
    c->keys = arena_alloc(c->arena, (size_t)n * sizeof(*c->keys));
    c->access = arena_alloc(c->arena, (size_t)n);
    keys_of_line(c, c->cmd, c->argv, c->argc, db, c->keys, c->access, n);
    c->nkeys = n;
    return true;
}

static ALWAYS_INLINE bool find_keys(struct call *c, struct key *one, uint8_t *one_access) {
    const struct cmd *cmd = c->cmd;
    c->db = physical_db(c);
    c->changes = NULL;
    c->changed = 0;
    c->nkeys = 0;
    if (cmd->spec_count == 0) {
        return true;
    }
    const struct key_spec *spec = &cmd->specs[0];
    if (likely(one != NULL && cmd->spec_count == 1 && spec->first == spec->last && !(cmd->flags & CMD_ALL_SHARDS))) {
        *one = key_make(c->argv[spec->first], c->db);
        *one_access = (uint8_t)spec->access;
        c->keys = one;
        c->access = one_access;
        c->nkeys = 1;
        return true;
    }
    return find_many_keys(c);
}

bool call_find_keys(struct call *c, struct key *one, uint8_t *one_access) {
    return find_keys(c, one, one_access);
}

static bool arity_fits(const struct cmd *cmd, int argc) {
    return cmd->arity > 0 ? argc == cmd->arity : argc >= -cmd->arity;
}

/* A word behind a container command that is none of its subcommands. */
static bool is_unknown_sub(const struct call *c) {
    return c->cmd->subs != NULL && c->argc > 1;
}

void dispatch_resolve(struct slot *slot) {
    struct call *c = &slot->call;
    const struct cmd *cmd = registry_find(c->argv[0]);
    if (likely(cmd != NULL) && cmd->subs != NULL && c->argc > 1) {
        const struct cmd *sub = registry_find_sub(cmd, c->argv[1]);
        cmd = sub != NULL ? sub : cmd;
    }
    c->cmd = cmd;
    slot->well_formed = likely(cmd != NULL && cmd->run != NULL && arity_fits(cmd, c->argc)) && !is_unknown_sub(c) &&
                        find_keys(c, &slot->one_key, &slot->one_access) && (c->nkeys > 0 || cmd->spec_count == 0);
    if (likely(c->nkeys > 0)) {
        slot->bucket = l1_prefetch_bucket(c->l1, c->keys[0].hash);
    }
}

/* ---- errors ---- */

/* Writes the error unless the handler has, and counts it. mark: where the reply began. */
static void answer_error(struct call *c, size_t mark, enum err e) {
    struct buf *b = &c->out->buf;
    if (e != ERR_REPLIED) {
        reply_error(c->out, slice_cstr(err_text(e)));
    }
    if (b->n == mark) {
        return; /* closed without a word */
    }
    ASSERT(b->p[mark] == '-');
    STAT_ADD(c->stats->total_error_replies, 1);
    error_counts_add(c->host->errors, slice_make(b->p + mark + 1, b->n - mark - 3));
}

/* EXEC itself was refused: the transaction goes, and the reply says why. */
static void reject_exec(struct call *c, size_t mark, enum err e) {
    char why[256];
    const char *text = err_text(e);
    snprintf(why, sizeof(why), "%s", text);
    if (e == ERR_REPLIED) { /* the text was written already: take it back */
        size_t n = c->out->buf.n - mark;
        snprintf(why, sizeof(why), "%.*s", (int)(n > 3 ? n - 3 : 0), c->out->buf.p + mark + 1);
        out_truncate(c->out, mark, c->out->ref_count);
    }
    const char *reason = strncmp(why, "ERR ", 4) == 0 ? why + 4 : why;
    txn_forget(c->client, c->l1);
    call_errorf(c, "EXECABORT Transaction discarded because of: %s", reason);
}

/* The call does not run. mark: where the reply began. */
static void reject(struct session *s, struct call *c, size_t mark, enum err e) {
    if (c->cmd != NULL && (c->cmd->flags & CMD_EXEC)) {
        reject_exec(c, mark, e);
        e = ERR_REPLIED;
    }
    answer_error(c, mark, e);
    if (client_is(&s->client, CLIENT_MULTI)) {
        client_flag(&s->client, CLIENT_DIRTY_EXEC, true);
    }
    STAT_ADD(c->stats->tiers[STAT_L1].rejects[REJECT_oom], e == ERR_OOM);
    if (c->cmd != NULL && !is_unknown_sub(c)) {
        STAT_ADD(c->stats->commands[c->cmd->id].rejected, 1);
    }
}

/* A browser tricked into posting to our port: what its body says must not run. Closes without a word. */
static bool is_http(struct slice name) {
    return slice_eqi(name, "post") || slice_eqi(name, "host:");
}

static enum err unknown_command(struct call *c) {
    if (is_http(c->argv[0])) {
        log_warning("possible cross-protocol attack from %s: connection closed", c->client->addr);
        client_flag(c->client, CLIENT_CLOSE_AFTER_REPLY, true);
        return ERR_REPLIED;
    }
    struct buf args = {0};
    for (int i = 1; i < c->argc && args.n < 128; i++) {
        size_t room = 128 - args.n;
        size_t n = c->argv[i].n < room ? c->argv[i].n : room;
        buf_printf(&args, "'%.*s' ", (int)n, c->argv[i].p);
    }
    size_t n = c->argv[0].n < 128 ? c->argv[0].n : 128;
    call_errorf(c, "ERR unknown command '%.*s', with args beginning with: %.*s", (int)n,
                c->argv[0].p, (int)args.n, args.p == NULL ? "" : args.p);
    buf_free(&args);
    return ERR_REPLIED;
}

static enum err unknown_sub(struct call *c) {
    char upper[64];
    size_t i = 0;
    for (const char *p = c->cmd->row->name; *p != '\0' && i + 1 < sizeof(upper); p++) {
        upper[i++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
    }
    upper[i] = '\0';
    size_t n = c->argv[1].n < 128 ? c->argv[1].n : 128;
    return call_errorf(c, "ERR unknown subcommand '%.*s'. Try %s HELP.", (int)n, c->argv[1].p,
                       upper);
}

/* Says what is wrong with the form of a call: name, subcommand, arity, key positions. */
static enum err form_error(struct call *c) {
    if (c->cmd == NULL) {
        return unknown_command(c);
    }
    if (is_unknown_sub(c)) {
        return unknown_sub(c);
    }
    return call_arity_error(c);
}

/* MULTI is under way: the call waits for EXEC, or is refused now. */
static enum err queue(struct call *c) {
    const struct cmd *cmd = c->cmd;
    enum err e = cmd->row->allowed != NULL ? cmd->row->allowed(c) : OK;
    if (e != OK) {
        return e;
    }
    if (cmd->flags & CMD_NO_MULTI) {
        return call_errorf(c, "ERR Command not allowed inside a transaction");
    }
    struct session *s = session_of(c->client);
    e = unlikely(s->worker->peers != NULL) ? route_queued(s, c) : OK;
    if (e != OK) {
        return e;
    }
    return l1_deny_writes(c->l1) ? ERR_OOM : txn_queue(c); /* the queue itself takes memory, whatever the command */
}

/* What rarely applies: authentication, loading, MULTI's queue, monitors, pause. False when the call was answered,
 * queued or parked here. */
static bool admit_slow(struct session *s, struct call *c) {
    size_t mark = c->out->buf.n;
    struct worker *w = s->worker;
    const struct cmd *cmd = c->cmd;
    if (!s->client.authenticated && !(cmd->flags & CMD_NO_AUTH)) {
        reject(s, c, mark, ERR_NOAUTH);
        return false;
    }
    if (atomic_load_explicit(&c->host->loading, memory_order_relaxed) &&
        !(cmd->flags & CMD_LOADING)) {
        reject(s, c, mark, ERR_LOADING);
        return false;
    }
    if (client_is(&s->client, CLIENT_MULTI) && !(cmd->flags & CMD_DIRECT)) {
        enum err e = queue(c);
        if (e != OK) {
            reject(s, c, mark, e);
        }
        return false;
    }
    c->far |= client_is(&s->client, CLIENT_ATTRIBUTES);
    if (park_while_paused(s, c)) {
        return false;
    }
    if (atomic_load_explicit(&c->host->monitors, memory_order_relaxed) > 0 &&
        !(cmd->flags & (CMD_SKIP_MONITOR | CMD_ADMIN))) {
        monitor_feed(w->server, c);
    }
    return true;
}

enum { UNUSUAL = CLIENT_MULTI | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT | CLIENT_ATTRIBUTES };

static void call_finish(struct call *c, struct worker *w, size_t mark, enum err e, uint64_t ticks);

/* ---- run and commit ---- */

static const enum sink_change sink_change_of[] = {
    [CHANGE_SET] = SINK_SET, [CHANGE_DEL] = SINK_DEL, [CHANGE_EXPIRE] = SINK_EXPIRE};

static NEVER_INLINE void commit(struct call *c, struct worker *w) {
    struct tier *tier = &w->server->tier;
    if (!(c->cmd->flags & CMD_EXEC)) { /* whose calls have been counted */
        atomic_fetch_add_explicit(&c->host->dirty, c->changed, memory_order_relaxed);
    }
    c->step = STEP_COMMIT;
    bool guarded = guard_is_active(tier->guard);
    bool told = tier->sink_count != 0 || tier->changed != NULL;
    if ((!told && !guarded) || c->changes == NULL) {
        return;
    }
    for (int i = 0; i < c->nkeys; i++) {
        if (c->changes[i] == CHANGE_NONE) {
            continue;
        }
        const struct rule *rule = guarded ? hold_changed(c, i, (enum key_change)c->changes[i]) : NULL;
        if (unlikely(rule != NULL && rule->opt.write != WRITE_OFF && rule->target != NULL)) {
            park_write(c, tier, rule, &c->keys[i]);
        }
        if (told) {
            park_commit(c, tier, sink_change_of[c->changes[i]], &c->keys[i]);
        }
    }
}

/* The call may need memory that maxmemory does not give: it is rejected, a transaction as a whole. */
static inline bool must_not_grow(const struct call *c) {
    uint32_t flags = c->cmd->flags | (unlikely(txn_is_exec(c)) ? txn_flags(c) : 0);
    return (flags & CMD_DENYOOM) && unlikely(l1_over_limit(c->l1)) && l1_deny_writes(c->l1);
}

/* The handler, with the locks of its keys held, and what must happen before they are released. one_key: as in sighting_call. */
static ALWAYS_INLINE enum err run_handler(struct call *c, struct worker *w, bool one_key) {
    c->step = STEP_RUN;
    if (unlikely(!c->in_exec && must_not_grow(c))) {
        return ERR_OOM;
    }
    enum err e = c->cmd->run(c);
    if (unlikely(c->peer & PEER_GUTTER)) {
        call_end_soon(c);
    }
    if (c->changed != 0) {
        commit(c, w);
    }
    sighting_call(c, w, e, one_key);
    if (unlikely(c->peer & PEER_NEAR) && e == OK) {
        channel_grant(c, w);
    }
    return e;
}

void dispatch_run_queued(struct call *c, struct worker *w) {
    uint64_t start = clock_ticks();
    size_t mark = c->out->buf.n;
    enum err e = run_handler(c, w, false);
    call_finish(c, w, mark, e, clock_ticks() - start);
}

/* The mapping of databases may have changed since the keys were hashed; it is stable under any shard's lock. */
static bool db_moved(const struct call *c) {
    return unlikely(c->db != physical_db(c));
}

/* By its writes, or by what a slower tier gave for it. */
static inline bool may_have_grown(const struct call *c, const struct worker *w) {
    return c->changed != 0 || w->server->tier.source_count != 0 || c->rules != NULL;
}

/* What the call's keys need before it may run: the guards' word, and a fill. OK: run. */
static NEVER_INLINE enum err make_ready(struct call *c, struct worker *w) {
    c->step = STEP_FILL;
    enum err e = c->rules != NULL ? hold_before(c, w) : OK;
    if (e != OK) {
        return e;
    }
    if (park_for_fill(c, w)) {
        return ERR_PARKED;
    }
    return c->rules != NULL ? hold_after(c, w) : OK;
}

/* Nothing slower than memory, no policies: the keys are as they are. */
static inline bool is_ready(const struct call *c, const struct worker *w) {
    return likely(w->server->tier.source_count == 0 && c->rules == NULL);
}

static ALWAYS_INLINE enum err run_one_key(struct call *c, struct worker *w) {
    struct l1 *l1 = c->l1;
    for (;;) {
        unsigned shard = l1_shard_of(l1, c->keys[0].hash);
        l1_lock(l1, shard);
        if (db_moved(c)) {
            l1_unlock(l1, shard);
            c->db = physical_db(c);
            c->keys[0] = key_make(c->keys[0].name, c->db);
            continue;
        }
        enum err e = is_ready(c, w) ? OK : make_ready(c, w);
        e = likely(e == OK) ? run_handler(c, w, true) : e;
        if (unlikely(may_have_grown(c, w) && l1_needs_room(l1))) {
            l1_make_room(l1, shard, EVICT_PER_WRITE, c->now_ms);
        }
        l1_unlock(l1, shard);
        return e;
    }
}

static void lock_keys(const struct call *c, const uint16_t *shards, unsigned n) {
    if (c->all_locked) {
        l1_lock_all(c->l1);
        return;
    }
    for (unsigned i = 0; i < n; i++) {
        l1_lock(c->l1, shards[i]);
    }
}

static void unlock_keys(const struct call *c, const uint16_t *shards, unsigned n) {
    if (c->all_locked) {
        l1_unlock_all(c->l1);
        return;
    }
    while (n-- > 0) {
        l1_unlock(c->l1, shards[n]);
    }
}

static void make_room_after(struct call *c, const uint16_t *shards, unsigned n) {
    for (unsigned i = 0; i < n && l1_needs_room(c->l1); i++) {
        l1_lock(c->l1, shards[i]);
        l1_make_room(c->l1, shards[i], EVICT_PER_WRITE, c->now_ms);
        l1_unlock(c->l1, shards[i]);
    }
}

static void find_keys_again(struct call *c) {
    if (txn_is_exec(c)) {
        txn_find_keys(c);
    } else {
        call_find_keys(c, NULL, NULL);
    }
}

/* Several keys, or every shard: MSET, RENAME, EXEC, FLUSHALL. */
static NEVER_INLINE enum err run_many_keys(struct call *c, struct worker *w) {
    uint16_t *shards = arena_alloc(c->arena, (size_t)c->nkeys * sizeof(*shards) + 1);
    c->all_locked = (c->cmd->flags & CMD_ALL_SHARDS) || (txn_is_exec(c) && (txn_flags(c) & (CMD_ALL_SHARDS | CMD_WHOLE)));
    if (txn_is_exec(c) && txn_walks_first(c)) {
        return ERR_PARKED;
    }
    for (;;) {
        unsigned n = l1_shards_of(c->l1, c->keys, (size_t)c->nkeys, shards);
        lock_keys(c, shards, n);
        if (c->all_locked) {
            find_keys_again(c); /* the shards are the same wherever the databases are now */
        } else if (db_moved(c)) {
            unlock_keys(c, shards, n);
            find_keys_again(c);
            shards = arena_alloc(c->arena, (size_t)c->nkeys * sizeof(*shards) + 1);
            continue;
        }
        enum err e = is_ready(c, w) ? OK : make_ready(c, w);
        e = e == OK ? run_handler(c, w, false) : e;
        unlock_keys(c, shards, n);
        if (may_have_grown(c, w)) {
            make_room_after(c, shards, n);
        }
        return e;
    }
}

static ALWAYS_INLINE enum err call_run_step(struct call *c, struct worker *w) {
    if (likely(c->nkeys == 1 && !(c->cmd->flags & (CMD_ALL_SHARDS | CMD_EXEC)))) {
        return run_one_key(c, w);
    }
    if (c->nkeys > 0 || (c->cmd->flags & CMD_ALL_SHARDS) || txn_is_exec(c)) {
        return run_many_keys(c, w);
    }
    c->db = physical_db(c); /* a call before this one in the window may have moved it */
    return run_handler(c, w, false);
}

/* ---- reply ---- */

/* What the reply has grown by since the mark; a large string is in it by reference. */
static size_t reply_bytes(const struct call *c, size_t mark) {
    size_t n = c->out->buf.n - mark;
    for (uint32_t i = c->out->ref_count; i-- > 0 && c->out->refs[i].at >= mark;) {
        n += c->out->refs[i].bytes.n;
    }
    return n;
}

/* The tier that the call's reads asked last, and waited for. */
static enum stat_tier tier_of_call(const struct call *c) {
    unsigned asked = 0;
    for (int i = 0; c->asked != NULL && i < c->nkeys; i++) {
        asked |= c->asked[i];
    }
    return asked == 0 ? STAT_L1 : (enum stat_tier)(31 - __builtin_clz(asked));
}

/* Reads that memory alone answered are counted by their commands only: sight.c takes these away from those. */
static void account_far(struct call *c, uint64_t ticks) {
    enum stat_tier tier = tier_of_call(c);
    if (tier != STAT_L1 && (c->cmd->flags & CMD_READONLY) && !c->in_exec) { /* what is queued waits in EXEC, which is none */
        hist_add(&c->stats->tiers[tier].latency, ticks);
    }
}

/* The policy of the first key that has one stands for the call. */
static void account_policy(const struct call *c, const struct worker *w, uint64_t ticks) {
    for (int i = 0; i < c->nkeys; i++) {
        if (c->rule_of[i] != NULL) {
            rule_took(c->rule_of[i], w->id, ticks);
            return;
        }
    }
}

/* A waiting call's time is that of all its steps; of them it waited so long for acknowledgements. */
static void note_slow(const struct call *c, uint64_t ticks, uint64_t acks) {
    uint64_t filling = park_filling(c), rest = ticks - acks - filling;
    struct slow_where where = {.step = acks > 0 && acks >= filling && acks >= rest ? "commit" : filling > rest ? "fill" : "run",
                               .tier = tier_names[tier_of_call(c)].name,
                               .waited_us = clock_ticks_to_us(filling + acks)};
    slowlog_add(c->host->slowlog, c->now_ms, clock_ticks_to_us(ticks), c->argv, c->argc, c->client->addr, c->client->name, &where);
}

void dispatch_acknowledged(const struct call *c, struct worker *w, uint64_t blocked_at) {
    uint64_t now = clock_ticks(), ticks = park_ticks(c, now);
    bool was_slow = park_ticks(c, blocked_at) >= w->slow_ticks; /* and is in the log */
    if (!was_slow && ticks >= w->slow_ticks && !(c->cmd->flags & CMD_SKIP_SLOWLOG)) {
        note_slow(c, ticks, now - blocked_at);
    }
}

static void call_account(struct call *c, struct worker *w, uint64_t ticks) {
    stats_count_call(c->stats, c->cmd->id, ticks);
    if (unlikely(c->far)) {
        account_far(c, ticks);
    }
    if (unlikely(c->rule_of != NULL)) {
        account_policy(c, w, ticks);
    }
    struct client *client = c->client;
    atomic_store_explicit(&client->last_cmd, c->cmd, memory_order_relaxed);
    atomic_store_explicit(&client->last_ms, c->now_ms, memory_order_relaxed);
    if (unlikely(ticks >= w->slow_ticks) && !(c->cmd->flags & CMD_SKIP_SLOWLOG)) {
        note_slow(c, ticks, 0);
    }
    if (unlikely(ticks >= w->latency_ticks)) {
        latency_add(c->host->latency, c->cmd->flags & CMD_FAST ? "fast-command" : "command",
                    c->now_ms / 1000, clock_ticks_to_us(ticks) / 1000);
    }
}

/* One reply, all there is in s->out; none when the call is held. */
static void hand_over(struct session *s, const struct call *c) {
    if (s->closing || (c->peer & PEER_QUIET)) {
        out_truncate(&s->out, 0, 0);
    } else if (out_bytes(&s->out) > 0) {
        if (c->keep_ms > 0) {
            s->channel->keep(s->channel, c->tag, c->keep_ms);
        }
        s->channel->replied(s->channel, c->tag, &s->out);
    }
}

void dispatch_replied(struct session *s, const struct call *c, size_t buf_n, uint32_t refs) {
    struct client *client = &s->client;
    if (unlikely(s->channel != NULL)) {
        hand_over(s, c);
        return;
    }
    if (likely(!client_is(client, UNUSUAL))) {
        return;
    }
    if (client_is(client, CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP)) {
        out_truncate(&s->out, buf_n, refs);
    }
    client_flag(client, CLIENT_REPLY_SKIP, client_is(client, CLIENT_REPLY_SKIP_NEXT));
    client_flag(client, CLIENT_REPLY_SKIP_NEXT, false);
}

/* Before the reply that begins at the mark: where the value came from. */
static void put_attributes(struct call *c, size_t mark) {
    struct out before = {.proto = 3};
    bool found = c->read_expire_ms != INT64_MIN, ends = found && c->read_expire_ms != L1_NO_TTL;
    reply_attribute(&before, 4);
    reply_bulk_cstr(&before, "tier");
    reply_bulk_cstr(&before, found ? tier_names[tier_of_call(c)].name : "none");
    reply_bulk_cstr(&before, "ttl_ms");
    reply_int(&before, ends ? c->read_expire_ms - c->now_ms : found ? -1 : -2);
    reply_bulk_cstr(&before, "age_ms");
    reply_int(&before, found ? item_stamp_age(c->read_written, c->now_ms) : 0);
    reply_bulk_cstr(&before, "stale");
    reply_bool(&before, c->stale);
    out_insert(c->out, mark, buf_slice(&before.buf));
    out_free(&before);
}

static bool wants_attributes(const struct call *c) {
    return c->read && c->nkeys == 1 && c->out->proto == 3 && !c->in_exec && client_is(c->client, CLIENT_ATTRIBUTES);
}

static ALWAYS_INLINE void call_finish(struct call *c, struct worker *w, size_t mark, enum err e, uint64_t ticks) {
    c->step = STEP_REPLY;
    if (unlikely(c->far) && e == OK && wants_attributes(c)) {
        put_attributes(c, mark);
    }
    if (unlikely(e != OK)) {
        answer_error(c, mark, e);
        STAT_ADD(c->stats->commands[c->cmd->id].failed, 1);
    }
    call_account(c, w, ticks);
    if (unlikely(w->tracking)) {
        sighting_charge(c, w, ticks, reply_bytes(c, mark));
    }
}

static void answer_protocol_error(struct session *s, const char *text) {
    reply_errorf(&s->out, "ERR %s", text);
    STAT_ADD(s->worker->stats->protocol_errors, 1);
    STAT_ADD(s->worker->stats->total_error_replies, 1);
    error_counts_add(s->worker->server->host.errors, SLICE("ERR "));
    client_flag(&s->client, CLIENT_CLOSE_AFTER_REPLY, true);
}

/* Ticks since the call before this one ended: one look at the clock for each call. */
static uint64_t lap(struct worker *w) {
    uint64_t now = clock_ticks(), ticks = now - w->lap;
    w->lap = now;
    return ticks;
}

/* From the run step on; also for a parked call that runs again. */
static void run_admitted(struct session *s, struct call *c, struct worker *w) {
    if (unlikely(txn_is_exec(c) && !c->detached)) {
        txn_find_keys(c);
    }
    park_hold_reply(s, c);
    size_t mark = c->out->buf.n;
    enum err e = call_run_step(c, w);
    uint64_t ticks = lap(w);
    if (unlikely(e == ERR_PARKED)) {
        park_call(s, c, ticks);
        return;
    }
    ticks = unlikely(c->detached) ? park_ticks(c, w->lap) : ticks;
    if (unlikely(e == ERR_OOM)) {
        reject(s, c, mark, e);
    } else {
        call_finish(c, w, mark, e, ticks);
    }
    park_release_reply(s, c);
}

/* The route step. False: a peer is asked, or the client is told why not. */
static bool is_ours(struct session *s, struct call *c) {
    size_t mark = c->out->buf.n;
    enum err e = route_call(s, c);
    if (e != OK) {
        s->worker->lap = clock_ticks();
        atomic_store_explicit(&s->client.last_cmd, c->cmd, memory_order_relaxed);
        atomic_store_explicit(&s->client.last_ms, c->now_ms, memory_order_relaxed);
    }
    if (e != OK && e != ERR_PARKED) {
        answer_error(c, mark, e);
        STAT_ADD(c->stats->commands[c->cmd->id].rejected, 1);
    }
    return e == OK;
}

void dispatch_run(struct slot *slot) {
    struct session *s = slot->session;
    struct worker *w = s->worker;
    struct call *c = &slot->call;
    session_out_ready(s);
    size_t out_n = s->out.buf.n;
    uint32_t out_refs = s->out.ref_count, begun = s->dues.begun;
    if (unlikely(slot->proto_error != NULL)) {
        answer_protocol_error(s, slot->proto_error);
        return;
    }
    bool unusual = w->slow || !s->client.authenticated || client_is(&s->client, UNUSUAL);
    if (unlikely(!slot->well_formed)) {
        reject(s, c, out_n, form_error(c));
    } else if ((likely(!unusual) || admit_slow(s, c)) && (likely(w->peers == NULL) || is_ours(s, c))) {
        run_admitted(s, c, w);
    }
    if (unlikely(s->dues.begun != begun)) { /* what was before it went with it */
        out_n = 0;
        out_refs = 0;
    }
    if (unlikely(c->adopted != NULL)) {
        blob_unref(c->adopted);
    }
    if (s->parked == NULL) {
        dispatch_replied(s, c, out_n, out_refs);
    }
}

void dispatch_refresh(struct call *c, const struct worker *w) {
    c->now_ms = loop_now_ms(w->loop);
    c->conf = w->conf;
    c->rules = w->rules;
    c->rule_of = NULL; /* of a set that may be gone by now */
    c->matched = false;
    c->see = SEE_FRESH;
}

bool dispatch_held(struct call *c, struct worker *w) {
    w->lap = clock_ticks();
    size_t mark = c->out->buf.n;
    enum err e = call_run_step(c, w);
    uint64_t ticks = lap(w);
    if (e == ERR_PARKED) {
        park_call(session_of(c->client), c, ticks);
        return false;
    }
    call_finish(c, w, mark, e, park_ticks(c, w->lap));
    return true;
}

void dispatch_again(struct parked *p) {
    if (p->hold.held) {
        hold_again(p);
        return;
    }
    struct session *s = p->session;
    struct worker *w = p->worker;
    struct call *c = &p->call;
    enum park why = p->why;
    p->why = PARK_NONE;
    dispatch_refresh(c, w);
    session_out_ready(s);
    w->lap = clock_ticks();
    p->began = why == PARK_PAUSE ? w->lap : p->began; /* what an administrator wished for is not the call's */
    size_t out_n = s->out.buf.n;
    uint32_t out_refs = s->out.ref_count, begun = s->dues.begun;
    if (why != PARK_PAUSE || (!park_while_paused(s, c) && (w->peers == NULL || is_ours(s, c)))) {
        run_admitted(s, c, w);
    }
    if (p->why == PARK_NONE) {
        bool fresh = s->dues.begun != begun;
        dispatch_replied(s, c, fresh ? 0 : out_n, fresh ? 0 : out_refs);
        park_done(p);
    }
    session_want_flush(s);
}
