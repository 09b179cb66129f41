/* SPDX-License-Identifier: BSD-3-Clause */
/* txn: MULTI, EXEC, DISCARD, WATCH, UNWATCH. */
#include "src/server/txn.h"

#include "src/base/check.h"
#include "src/base/mem.h"
#include "src/l1/shard.h"
#include "src/server/dispatch.h"
#include "src/server/park.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/tier/walk.h"

/* One queued call: copies of its arguments behind the array, in one block. */
struct queued {
    const struct cmd *cmd;
    struct slice *argv;
    int argc;
    int first_key, key_count; /* its part of EXEC's keys: set by txn_find_keys */
    int db;                   /* logical database it will run in, as far as SELECTs in the queue tell */
};

struct txn {
    struct queued *calls;
    int count, cap;
    size_t bytes;
    uint32_t flags; /* of all of them together */
};

uint32_t txn_flags(const struct call *c) {
    return c->client->txn->flags;
}

static void txn_free(struct client *client) {
    struct txn *t = client->txn;
    if (t != NULL) {
        for (int i = 0; i < t->count; i++) {
            mem_free(t->calls[i].argv);
        }
        mem_free(t->calls);
        mem_free(t);
        client->txn = NULL;
    }
    client_flag(client, CLIENT_MULTI | CLIENT_DIRTY_EXEC, false);
    atomic_store_explicit(&client->multi_count, -1, memory_order_relaxed);
}

/* ---- queue ---- */

enum err txn_multi(struct call *c) {
    if (client_is(c->client, CLIENT_MULTI)) {
        return call_errorf(c, "ERR MULTI calls can not be nested");
    }
    c->client->txn = mem_zalloc(sizeof(struct txn));
    client_flag(c->client, CLIENT_MULTI, true);
    atomic_store_explicit(&c->client->multi_count, 0, memory_order_relaxed);
    reply_ok(c->out);
    return OK;
}

static struct slice *copy_arguments(const struct call *c, size_t *bytes) {
    size_t n = (size_t)c->argc * sizeof(struct slice);
    for (int i = 0; i < c->argc; i++) {
        n += c->argv[i].n;
    }
    struct slice *argv = mem_try_alloc(n);
    if (argv == NULL) {
        return NULL;
    }
    char *at = (char *)(argv + c->argc);
    for (int i = 0; i < c->argc; i++) {
        memcpy(at, c->argv[i].p, c->argv[i].n);
        argv[i] = slice_make(at, c->argv[i].n);
        at += c->argv[i].n;
    }
    *bytes = n;
    return argv;
}

enum err txn_queue(struct call *c) {
    struct txn *t = c->client->txn;
    size_t bytes = 0;
    struct slice *argv = copy_arguments(c, &bytes);
    if (argv == NULL) {
        return ERR_OUT_OF_MEMORY;
    }
    if (t->bytes + bytes > (size_t)c->conf->client_query_buffer_limit) {
        mem_free(argv);
        STAT_ADD(c->stats->client_query_buffer_limit_disconnections, 1);
        client_flag(c->client, CLIENT_CLOSE_AFTER_REPLY, true);
        return ERR_OUT_OF_MEMORY;
    }
    if (t->count == t->cap) {
        t->cap = t->cap == 0 ? 8 : t->cap * 2;
        t->calls = mem_realloc(t->calls, (size_t)t->cap * sizeof(*t->calls));
    }
    t->calls[t->count++] = (struct queued){.cmd = c->cmd, .argv = argv, .argc = c->argc};
    t->bytes += bytes;
    t->flags |= c->cmd->flags;
    atomic_store_explicit(&c->client->multi_count, t->count, memory_order_relaxed);
    atomic_store_explicit(&c->client->arg_bytes, t->bytes, memory_order_relaxed);
    reply_status(c->out, "QUEUED");
    return OK;
}

/* ---- watch ---- */

static unsigned watch_shard(const struct l1 *l1, const struct watch *w) {
    return l1_shard_of(l1, w->hash);
}

static bool already_watched(const struct client *client, const struct key *key) {
    for (size_t i = 0; i < client->watch_count; i++) {
        const struct watch *w = client->watches[i];
        if (w->hash == key->hash && w->db == key->db &&
            slice_eq(slice_make(w->name, w->name_len), key->name)) {
            return true;
        }
    }
    return false;
}

enum err txn_watch(struct call *c) {
    struct client *client = c->client;
    if (client_is(client, CLIENT_MULTI)) {
        return call_errorf(c, "ERR WATCH inside MULTI is not allowed");
    }
    for (int i = 0; i < c->nkeys; i++) {
        const struct key *key = &c->keys[i];
        if (already_watched(client, key)) {
            continue;
        }
        struct item_view view;
        bool found = l1_get(c->l1, key, c->now_ms, L1_NOTOUCH, &view);
        struct watch *w = mem_try_alloc(sizeof(*w) + key->name.n);
        if (w == NULL) {
            return ERR_OUT_OF_MEMORY; /* the keys before this one stay watched */
        }
        *w = (struct watch){.dirty = &client->watch_dirty,
                            .hash = key->hash,
                            .expire_ms = found ? view.expire_ms : L1_NO_TTL,
                            .db = key->db,
                            .name_len = (uint32_t)key->name.n};
        memcpy(w->name, key->name.p, key->name.n);
        watch_add(&c->l1->shards[watch_shard(c->l1, w)].watches, w);
        if (client->watch_count == client->watch_cap) {
            client->watch_cap = client->watch_cap == 0 ? 4 : client->watch_cap * 2;
            client->watches = mem_realloc(client->watches, client->watch_cap * sizeof(*client->watches));
        }
        client->watches[client->watch_count++] = w;
    }
    atomic_store_explicit(&client->watch_mark, (int)client->watch_count, memory_order_relaxed);
    reply_ok(c->out);
    return OK;
}

/* locked: the caller holds the shards of all watches (EXEC). */
static void unwatch_all(struct client *client, struct l1 *l1, bool locked) {
    for (size_t i = 0; i < client->watch_count; i++) {
        struct watch *w = client->watches[i];
        unsigned shard = watch_shard(l1, w);
        if (!locked) {
            l1_lock(l1, shard);
        }
        watch_remove(&l1->shards[shard].watches, w);
        if (!locked) {
            l1_unlock(l1, shard);
        }
        mem_free(w);
    }
    client->watch_count = 0;
    atomic_store_explicit(&client->watch_mark, 0, memory_order_relaxed);
    atomic_store_explicit(&client->watch_dirty, false, memory_order_relaxed);
}

enum err txn_unwatch(struct call *c) {
    unwatch_all(c->client, c->l1, c->in_exec);
    reply_ok(c->out);
    return OK;
}

void txn_forget(struct client *client, struct l1 *l1) {
    txn_free(client);
    unwatch_all(client, l1, false);
    mem_free(client->watches);
    client->watches = NULL;
    client->watch_cap = 0;
}

enum err txn_discard(struct call *c) {
    if (!client_is(c->client, CLIENT_MULTI)) {
        return call_errorf(c, "ERR DISCARD without MULTI");
    }
    txn_free(c->client);
    unwatch_all(c->client, c->l1, false);
    reply_ok(c->out);
    return OK;
}

static bool watch_broken(const struct call *c) {
    const struct client *client = c->client;
    if (atomic_load_explicit(&client->watch_dirty, memory_order_relaxed)) {
        return true;
    }
    for (size_t i = 0; i < client->watch_count; i++) {
        int64_t expire_ms = client->watches[i]->expire_ms;
        if (expire_ms != L1_NO_TTL && expire_ms <= c->now_ms) {
            return true;
        }
    }
    return false;
}

void txn_drop(struct call *c) {
    txn_free(c->client);
    unwatch_all(c->client, c->l1, true);
}

/* ---- exec ---- */

/* SELECT in the queue moves the calls behind it to another database. */
static int db_after(const struct call *c, const struct queued *q, int db) {
    int64_t n;
    bool selects = q->cmd->row->name[0] == 's' && strcmp(q->cmd->row->name, "select") == 0;
    if (selects && num_parse_i64(q->argv[1], &n) && n >= 0 && n < c->conf->databases) {
        return (int)n;
    }
    return db;
}

void txn_find_keys(struct call *c) {
    struct client *client = c->client;
    struct txn *t = client->txn;
    int total = 0;
    for (int i = 0; i < t->count; i++) {
        struct queued *q = &t->calls[i];
        int n = keys_of_line(c, q->cmd, q->argv, q->argc, 0, NULL, NULL, 0);
        q->key_count = n < 0 ? 0 : n;
        total += q->key_count;
    }
    size_t all = (size_t)total + client->watch_count;
    c->keys = arena_alloc(c->arena, (all + 1) * sizeof(*c->keys));
    c->access = arena_alloc(c->arena, all + 1);
    int at = 0, db = atomic_load_explicit(&client->db, memory_order_relaxed);
    c->db = c->l1->db_map[db];
    for (int i = 0; i < t->count; i++) {
        struct queued *q = &t->calls[i];
        q->first_key = at;
        q->db = db;
        keys_of_line(c, q->cmd, q->argv, q->argc, db, c->keys + at, c->access + at, q->key_count);
        at += q->key_count;
        db = db_after(c, q, db);
    }
    for (size_t i = 0; i < client->watch_count; i++, at++) {
        const struct watch *w = client->watches[i];
        c->keys[at] = (struct key){slice_make(w->name, w->name_len), w->hash, w->db};
        c->access[at] = 0; /* needs its shard's lock, not its value */
    }
    c->nkeys = at;
}

static struct call call_of(const struct call *c, const struct queued *q) {
    return (struct call){.cmd = q->cmd,
                         .argv = q->argv,
                         .argc = q->argc,
                         .nkeys = q->key_count,
                         .keys = c->keys + q->first_key,
                         .access = c->access + q->first_key,
                         .out = c->out,
                         .arena = c->arena,
                         .client = c->client,
                         .host = c->host,
                         .l1 = c->l1,
                         .conf = c->conf,
                         .rules = c->rules,
                         .asked = c->asked != NULL ? c->asked + q->first_key : NULL,
                         .far = c->asked != NULL,
                         .stats = c->stats,
                         .peer = c->peer,
                         .now_ms = c->now_ms};
}

void txn_each(const struct call *c, void (*fn)(void *ctx, const struct call *queued, int db_after), void *ctx) {
    const struct txn *t = c->client->txn;
    for (int i = 0; i < t->count; i++) {
        const struct call one = call_of(c, &t->calls[i]);
        fn(ctx, &one, db_after(c, &t->calls[i], t->calls[i].db));
    }
}

/* ---- walks go first ----
 *
 * KEYS, SCAN and RANDOMKEY read the disk, and nothing may wait inside EXEC. So their handlers run before it, without a lock and with
 * the reply thrown away, as far as they wait for a thread; one job does what they all wait for; and inside EXEC each goes on from
 * there. What changes in between is noted by the walk itself, the queue's own changes among it. */

struct first_walk {
    void *state; /* the handler's */
    void (*state_free)(void *state);
    struct call_job *job; /* within it */
};

/* EXEC's state: it must outlive the session, whose queue does not. */
struct first_walks {
    struct call_job job; /* first: the job is all of theirs */
    int count;
    struct first_walk of[]; /* of each queued call; most have none */
};

static void first_walks_free(void *state) {
    struct first_walks *f = state;
    for (int i = 0; i < f->count; i++) {
        if (f->of[i].state != NULL) {
            f->of[i].state_free(f->of[i].state);
        }
    }
    mem_free(f);
}

static void run_first_walks(struct job *job) {
    struct first_walks *f = (struct first_walks *)job;
    for (int i = 0; i < f->count; i++) {
        if (f->of[i].job != NULL) {
            f->of[i].job->job.run(&f->of[i].job->job);
        }
    }
}

/* Databases as they will be when the calls before have run; a flushed one has nothing to walk. */
static void follow_swap(const struct call *c, const struct queued *q, uint8_t *map) {
    int64_t a, b;
    if (strcmp(q->cmd->row->name, "swapdb") == 0 && num_parse_i64(q->argv[1], &a) && num_parse_i64(q->argv[2], &b) && a >= 0 &&
        b >= 0 && a < c->conf->databases && b < c->conf->databases) {
        uint8_t first = map[a];
        map[a] = map[b];
        map[b] = first;
    }
}

static bool run_ahead(const struct call *c, const struct queued *q, uint8_t db, struct first_walk *out) {
    struct worker *w = session_of(c->client)->worker;
    struct out unread = {.proto = c->out->proto};
    struct call one = call_of(c, q);
    one.ahead = true;
    one.out = &unread;
    one.db = db;
    bool waits = q->cmd->run(&one) == ERR_PARKED;
    *out = (struct first_walk){one.state, one.state_free, waits ? w->parking.job : NULL};
    w->parking = (struct parking){0};
    out_free(&unread);
    return waits;
}

bool txn_walks_first(struct call *c) {
    const struct txn *t = c->client->txn;
    if (!(t->flags & CMD_WHOLE) || c->state != NULL || client_is(c->client, CLIENT_DIRTY_EXEC) || !walk_has_below(c->host->tier)) {
        return false;
    }
    struct first_walks *f = mem_zalloc(sizeof(*f) + (size_t)t->count * sizeof(f->of[0]));
    uint8_t map[L1_MAX_DBS];
    bool any = false;
    f->count = t->count;
    f->job.job.run = run_first_walks;
    for (unsigned i = 0; i < L1_MAX_DBS; i++) {
        map[i] = c->l1->db_map[i];
    }
    for (int i = 0; i < t->count; i++) {
        const struct queued *q = &t->calls[i];
        any |= (q->cmd->flags & CMD_WHOLE) && run_ahead(c, q, map[q->db], &f->of[i]);
        follow_swap(c, q, map);
    }
    if (!any) { /* the call runs at once, in its window: nobody would free its state */
        first_walks_free(f);
        return false;
    }
    c->state = f;
    c->state_free = first_walks_free;
    session_of(c->client)->worker->parking = (struct parking){.why = PARK_JOB, .job = &f->job};
    return true;
}

/* What the i-th call's walk found becomes its state. */
static void take_first_walk(struct call *one, struct first_walks *f, int i) {
    if (f == NULL || f->of[i].state == NULL) {
        return;
    }
    one->state = f->of[i].state;
    one->state_free = f->of[i].state_free;
    f->of[i].state = NULL;
    if (f->of[i].job != NULL) {
        f->of[i].job->refused = f->job.refused;
    }
}

static void run_queued(struct call *c, int i) {
    struct worker *w = session_of(c->client)->worker;
    const struct queued *q = &c->client->txn->calls[i];
    struct call one = call_of(c, q);
    one.all_locked = c->all_locked;
    one.in_exec = true;
    one.sync = c->sync;
    take_first_walk(&one, c->state, i);
    one.db = c->l1->db_map[atomic_load_explicit(&c->client->db, memory_order_relaxed)];
    if (q->key_count > 0 && c->all_locked) { /* a flush or swap in the queue moves databases under us */
        keys_of_line(c, q->cmd, q->argv, q->argc, atomic_load_explicit(&c->client->db, memory_order_relaxed), one.keys,
                     one.access, q->key_count);
    }
    dispatch_run_queued(&one, w);
    if (one.state != NULL) {
        one.state_free(one.state);
    }
    c->sync = one.sync;
    c->changed += one.changed;
    c->remapped |= one.remapped;
}

enum err txn_exec(struct call *c) {
    struct client *client = c->client;
    if (!client_is(client, CLIENT_MULTI)) {
        return call_errorf(c, "ERR EXEC without MULTI");
    }
    struct txn *t = client->txn;
    if (client_is(client, CLIENT_DIRTY_EXEC)) {
        txn_free(client);
        unwatch_all(client, c->l1, true);
        return ERR_EXECABORT;
    }
    if (watch_broken(c)) {
        txn_free(client);
        unwatch_all(client, c->l1, true);
        reply_null_array(c->out);
        return OK;
    }
    unwatch_all(client, c->l1, true);
    reply_array(c->out, t->count);
    for (int i = 0; i < t->count; i++) {
        run_queued(c, i);
    }
    c->nkeys = 0; /* each queued call has committed its own */
    c->changes = NULL;
    txn_free(client);
    return OK;
}
