/* SPDX-License-Identifier: BSD-3-Clause */
/* clients: what one connection may ask about the others, whatever loop they live on; and the table of host operations. */
#include <sys/socket.h>

#include "persist/disk.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/rt/loop.h"
#include "src/server/health.h"
#include "src/server/cluster.h"
#include "src/server/handover.h"
#include "src/server/forward.h"
#include "src/server/hold.h"
#include "src/server/monitor.h"
#include "src/server/park.h"
#include "src/server/purge_log.h"
#include "src/server/rules.h"
#include "src/server/save.h"
#include "src/server/server.h"
#include "src/server/session.h"
#include "src/server/sight.h"
#include "src/server/import.h"
#include "src/server/preheat.h"
#include "src/server/profile.h"
#include "src/server/warm.h"
#include "src/server/shutdown.h"
#include "src/server/txn.h"
#include "src/sight/sight.h"
#include "src/tier/guard.h"

static bool admits(const struct client_filter *f, const struct client *c) {
    if (f == NULL) {
        return true;
    }
    bool listed = f->id_count == 0;
    for (size_t i = 0; i < f->id_count && !listed; i++) {
        listed = f->ids[i] == c->id;
    }
    return listed && (f->id == 0 || f->id == c->id) && (f->skip_id == 0 || f->skip_id != c->id) &&
           (f->addr.p == NULL || slice_eq(f->addr, slice_cstr(c->addr))) &&
           (f->laddr.p == NULL || slice_eq(f->laddr, slice_cstr(c->laddr))) &&
           (f->user.p == NULL || slice_eq(f->user, slice_cstr(c->user))) && f->type <= 1;
}

static void each_client(struct host *h, const struct client_filter *filter,
                        void (*fn)(void *ctx, struct client *client), void *ctx) {
    struct server *srv = server_of(h);
    for (unsigned i = 0; i < h->loop_count; i++) {
        struct worker *w = srv->workers[i];
        lock_acquire(&w->sessions_lock);
        for (struct list *n = w->sessions.next; n != &w->sessions; n = n->next) {
            struct client *c = LIST_ENTRY(n, struct client, node);
            if (admits(filter, c)) {
                fn(ctx, c);
            }
        }
        lock_release(&w->sessions_lock);
    }
}

struct killing {
    const struct client *self;
    uint64_t count;
};

/* Its loop frees the session later; that the connection has ended, the peer sees before the killer has its answer: clients that look
 * for the end before they write rely on it. The descriptor is the session's as long as the session is listed. */
static void mark_killed(void *ctx, struct client *c) {
    struct killing *k = ctx;
    k->count++;
    if (c != k->self) {
        atomic_store_explicit(&c->kill, true, memory_order_relaxed);
        shutdown(c->fd, SHUT_RDWR);
    }
}

static void close_killed(struct worker *w, void *arg) {
    (void)arg;
    for (struct list *n = w->sessions.next, *next; n != &w->sessions; n = next) {
        next = n->next;
        struct session *s = LIST_ENTRY(n, struct session, client.node);
        if (atomic_load_explicit(&s->client.kill, memory_order_relaxed)) {
            session_close(s);
        }
    }
}

static void on_every_worker(struct host *h, void (*fn)(struct worker *w, void *arg), void *arg) {
    for (unsigned i = 0; i < h->loop_count; i++) {
        worker_post(server_of(h)->workers[i], fn, arg);
    }
}

static uint64_t kill_clients(struct host *h, const struct client_filter *filter,
                             struct client *self) {
    struct killing k = {.self = self};
    each_client(h, filter, mark_killed, &k);
    if (k.count > 0) {
        on_every_worker(h, close_killed, NULL);
    }
    if (self != NULL && admits(filter, self)) {
        client_flag(self, CLIENT_CLOSE_AFTER_REPLY, true);
    }
    return k.count;
}

static int unblock_client(struct host *h, uint64_t id, bool with_error) {
    (void)h;
    (void)id;
    (void)with_error;
    return 0; /* no command of this version blocks on keys: nobody can be unblocked */
}

static void wake_paused(struct worker *w, void *arg) {
    (void)arg;
    w->slow = true; /* look at the pause from this turn on */
    park_wake_paused(w);
}

static void pause_clients(struct host *h, int64_t deadline_ms, bool writes_only) {
    struct server *srv = server_of(h);
    int64_t until = atomic_load(&srv->pause_until_ms);
    atomic_store(&srv->pause_writes_only, writes_only);
    while ((deadline_ms == 0 || deadline_ms > until) && !atomic_compare_exchange_weak(&srv->pause_until_ms, &until, deadline_ms)) {
    }
    on_every_worker(h, wake_paused, NULL); /* ends, shortens or renews the wait of those held */
}

static void set_client_text(struct host *h, struct client *client, char **field,
                            struct slice text) {
    struct worker *w = session_of(client)->worker;
    (void)h;
    char *copy = NULL;
    if (text.n > 0) {
        copy = mem_alloc(text.n + 1);
        memcpy(copy, text.p, text.n);
        copy[text.n] = '\0';
    }
    lock_acquire(&w->sessions_lock);
    char *old = *field;
    *field = copy;
    lock_release(&w->sessions_lock);
    mem_free(old);
}

static void set_proto(struct call *c, uint8_t proto) {
    atomic_store_explicit(&c->client->proto, proto, memory_order_relaxed);
    session_of(c->client)->out.proto = proto;
}

static void reset_client(struct call *c) {
    struct client *client = c->client;
    txn_forget(client, c->l1);
    forward_unwatch(session_of(client), true);
    if (client_is(client, CLIENT_MONITOR)) {
        atomic_fetch_sub_explicit(&c->host->monitors, 1, memory_order_relaxed);
    }
    client_flag(client,
                CLIENT_MONITOR | CLIENT_REPLY_OFF | CLIENT_REPLY_SKIP | CLIENT_REPLY_SKIP_NEXT |
                    CLIENT_NO_EVICT | CLIENT_NO_TOUCH | CLIENT_READONLY | CLIENT_ATTRIBUTES,
                false);
    set_client_text(c->host, client, &client->name, slice_make("", 0));
    atomic_store_explicit(&client->db, 0, memory_order_relaxed);
    c->out->proto = 2;
    set_proto(c, 2);
    client->authenticated = c->conf->requirepass[0] == '\0';
}

/* Compares all of both, so that the time tells nothing about the secret but its length. */
static bool same_secret(struct slice given, const char *secret) {
    size_t n = strlen(secret);
    unsigned diff = given.n != n;
    for (size_t i = 0; i < given.n; i++) {
        diff |= (unsigned char)given.p[i] ^ (unsigned char)secret[n == 0 ? 0 : i % n];
    }
    return diff == 0;
}

static bool check_password(struct host *h, struct slice user, struct slice password) {
    struct conf *conf = conf_store_current(h->conf_store);
    bool ok = slice_eq(user, SLICE("default")) &&
              (conf->requirepass[0] == '\0' || same_secret(password, conf->requirepass));
    conf_unref(conf);
    return ok;
}

/* The turn that follows takes the new snapshot. */
static void look_again(struct worker *w, void *arg) {
    (void)w;
    (void)arg;
}

static void apply_conf(struct worker *w, void *arg) {
    (void)arg;
    server_apply_conf(w->server);
}

/* Applied from a message: the caller may hold shards (CONFIG SET inside EXEC), and a change of policy locks them all. */
static void conf_changed(struct host *h) {
    struct server *srv = server_of(h);
    rules_apply(srv);
    rules_fetch_filters(srv);
    atomic_fetch_add_explicit(&srv->conf_version, 1, memory_order_release);
    worker_post(srv->workers[0], apply_conf, NULL);
    cluster_conf_changed(srv);
    on_every_worker(h, look_again, NULL);
}

static bool cancel_job(struct host *h, enum host_job job) {
    struct server *srv = server_of(h);
    return job == JOB_WARM ? preheat_cancel(srv->preheat) : import_cancel(srv->import);
}

static void job_info(struct host *h, enum host_job job, struct buf *out) {
    struct server *srv = server_of(h);
    if (job == JOB_WARM) {
        preheat_info(srv->preheat, out);
    } else {
        import_info(srv->import, out);
    }
}

static void tiers_info(struct host *h, struct buf *out) {
    struct pool_stats p;
    pool_stats_read(h->pool, 0, &p);
    buf_printf(out, "pool_threads:%u\r\npool_waiting:%llu\r\npool_wait_us:%llu\r\npool_busy_us:%llu\r\n", pool_threads(h->pool),
               (unsigned long long)p.depth, (unsigned long long)p.wait_us, (unsigned long long)p.busy_us);
    warm_info(server_of(h)->warm, out);
    job_info(h, JOB_WARM, out);
    job_info(h, JOB_IMPORT, out);
}

static void tier_lines(struct host *h, struct buf *out) {
    sight_tier_lines(server_of(h), out);
}

static void read_tiers(struct host *h, struct tier_numbers *out) {
    sight_tiers(server_of(h), out);
}

static struct hits tier_window(struct host *h, enum stat_tier tier, enum window_span span) {
    return sight_window(server_of(h), tier, span);
}

static struct hits rule_window(struct host *h, const struct rule_stats *rule, enum window_span span) {
    return sight_rule_window(server_of(h), rule, span);
}

static void export(struct host *h, enum host_export form, struct buf *out) {
    static void (*const renderers[])(struct server *srv, struct buf *out) = {
        [EXPORT_JSON] = sight_json, [EXPORT_HISTORY] = sight_json_long, [EXPORT_PROMETHEUS] = sight_prom};
    renderers[form](server_of(h), out);
}

static bool lasting_purges(struct host *h) {
    return server_of(h)->purge_log != NULL;
}

static uint64_t note_purge(struct host *h, uint8_t db, uint32_t tag, struct slice prefix, bool soft, int64_t now_ms) {
    const struct purge_record r = {
        .kind = tag != 0 ? PURGE_TAG : PURGE_PREFIX, .soft = soft, .db = db, .tag = tag, .time_ms = now_ms, .prefix = prefix};
    return purge_log_append(server_of(h)->purge_log, &r);
}

static void make_purges(struct host *h, uint64_t upto) {
    purge_log_make(server_of(h)->purge_log, upto);
}

static void guards_info(struct host *h, struct buf *out) {
    rules_info(server_of(h), out);
}

static void health_section(struct host *h, struct buf *out) {
    health_info(server_of(h)->health, out);
}

static void each_alarm(struct host *h, void (*fn)(void *ctx, const char *name, const char *doc), void *ctx) {
    health_alarms(server_of(h)->health, fn, ctx);
}

static void read_memory(struct host *h, struct host_memory *out) {
    struct server *srv = server_of(h);
    struct sight_stats s;
    size_t most;
    *out = (struct host_memory){.startup = atomic_load_explicit(&h->used_startup_bytes, memory_order_relaxed),
                                .guards = marks_bytes(srv->tier.guard->marks)};
    if (srv->disk != NULL) {
        disk_memory(srv->disk, &out->disk, &most);
    }
    sight_stats(h->sight, &s);
    out->sight = s.memory;
}

static void stall_loop(int64_t ms) {
    int64_t until_us = clock_mono_us() + ms * 1000;
    while (clock_mono_us() < until_us) {
    }
}

static void yield_call(struct call *c) {
    session_of(c->client)->worker->parking = (struct parking){.why = PARK_YIELD};
}

static void wait_for_job(struct call *c, struct call_job *job) {
    session_of(c->client)->worker->parking = (struct parking){.why = PARK_JOB, .job = job};
}

static enum err sleep_call(struct call *c, int64_t ms) {
    if (c->in_exec) {
        return call_errorf(c, "ERR DEBUG SLEEP is not allowed inside a transaction");
    }
    session_of(c->client)->worker->parking = (struct parking){.why = PARK_SLEEP, .ms = ms};
    return ERR_PARKED;
}

const struct host_ops server_ops = {.each_client = each_client,
                                    .kill_clients = kill_clients,
                                    .unblock_client = unblock_client,
                                    .pause = pause_clients,
                                    .monitor = monitor_start,
                                    .set_client_text = set_client_text,
                                    .set_proto = set_proto,
                                    .multi = txn_multi,
                                    .exec = txn_exec,
                                    .discard = txn_discard,
                                    .watch = txn_watch,
                                    .unwatch = txn_unwatch,
                                    .reset = reset_client,
                                    .save = save_command,
                                    .reload = save_reload,
                                    .shutdown = shutdown_command,
                                    .check_password = check_password,
                                    .conf_changed = conf_changed,
                                    .tiers_info = tiers_info,
                                    .tier_lines = tier_lines,
                                    .tiers = read_tiers,
                                    .tier_window = tier_window,
                                    .rule_window = rule_window,
                                    .export = export,
                                    .guards_info = guards_info,
                                    .lasting_purges = lasting_purges,
                                    .note_purge = note_purge,
                                    .make_purges = make_purges,
                                    .may_lease = hold_may_lease,
                                    .hold = hold_for,
                                    .yield = yield_call,
                                    .wait = wait_for_job,
                                    .warm = preheat_command,
                                    .import = import_command,
                                    .cancel_job = cancel_job,
                                    .job_info = job_info,
                                    .profile = profile_command,
                                    .stall = stall_loop,
                                    .health_info = health_section,
                                    .alarms = each_alarm,
                                    .memory = read_memory,
                                    .peers_info = cluster_info,
                                    .cluster_meet = cluster_meet,
                                    .cluster_forget = cluster_forget,
                                    .cluster_leave = cluster_leave,
                                    .lends_slot = handover_lends,
                                    .sleep = sleep_call};
