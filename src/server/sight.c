/* SPDX-License-Identifier: BSD-3-Clause */
/* sight: reading the server's numbers, and noting them once a second. */
#include "src/server/sight_int.h"

#include "cluster/agent.h"
#include "cluster/driver.h"
#include "persist/disk.h"
#include "src/base/check.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/num.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/l1/l1.h"
#include "src/origin/origin.h"
#include "src/rt/pool.h"
#include "src/server/cluster.h"
#include "src/server/health.h"
#include "src/server/import.h"
#include "src/server/server.h"
#include "src/stats/stats.h"
#include "src/tier/guard.h"

enum { SECOND_MS = 1000 };

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)

/* ---- life ---- */

struct chronicle *chronicle_create(struct server *srv) {
    struct chronicle *s = mem_zalloc(sizeof(*s));
    s->server = srv;
    lock_init(&s->lock, LOCK_HISTORY, 0);
    s->history = history_create();
    s->commands = mem_zalloc(registry_count() * sizeof(struct window *));
    chronicle_tick(s, clock_now_ms()); /* what comes now is measured from here */
    return s;
}

void chronicle_destroy(struct chronicle **sp) {
    struct chronicle *s = *sp;
    *sp = NULL;
    history_destroy(&s->history);
    for (unsigned i = 0; i < registry_count(); i++) {
        mem_free(s->commands[i]);
    }
    mem_free(s->commands);
    mem_free(s);
}

/* ---- reading ---- */

const struct gauge_row gauge_rows[] = {
#define GAUGE(group, field, kind, doc) {#group, #field, #kind, doc, offsetof(struct gauges, group##_##field)},
#include "src/stats/gauges.def"
#undef GAUGE
};
const unsigned gauge_count = sizeof(gauge_rows) / sizeof(gauge_rows[0]);

static void read_l1(struct server *srv, struct gauges *g) {
    struct l1 *l1 = srv->host.l1;
    struct l1_stats s;
    l1_stats_read(l1, &s);
    g->memory_l1_bytes = l1_bytes(l1);
    g->memory_l1_chunk_bytes = s.chunk_bytes;
    g->memory_l1_live_bytes = s.live_bytes;
    g->memory_l1_heap_bytes = s.heap_bytes;
    g->memory_l1_table_bytes = s.table_bytes;
    g->l1_shards = l1->shard_count;
    g->l1_flights = s.flights;
    g->l1_inserted = s.inserted;
    g->l1_spared = s.spared;
}

static void read_tier(struct server *srv, struct gauges *g) {
    struct tier *t = &srv->tier;
    struct rules *rules = guard_rules(t->guard);
    g->guards_policies = rules != NULL ? rules->count : 0;
    rules_unref(rules);
    g->guards_leases = LOAD(t->guard->leases_live);
    g->guards_absent_keys = marks_count(t->guard->marks);
    g->fills_begun = LOAD(t->fills);
    g->fills_joined = LOAD(t->joined);
    g->fills_failed = LOAD(t->failed);
    g->fills_late = LOAD(t->late);
    g->fills_overtaken = LOAD(t->dropped_late);
    g->fills_loads = LOAD(t->loads);
}

static void read_host(struct host *h, const struct conf *conf, struct gauges *g) {
    g->server_uptime_s = (uint64_t)((clock_mono_us() - h->start_mono_us) / 1000000);
    g->server_threads = h->loop_count;
    g->ops_per_sec = LOAD(h->ops_per_sec);
    g->net_in_per_sec = LOAD(h->in_per_sec);
    g->net_out_per_sec = LOAD(h->out_per_sec);
    g->clients_connected = (uint64_t)LOAD(h->clients);
    g->clients_peak = (uint64_t)LOAD(h->clients_peak);
    g->clients_blocked = (uint64_t)LOAD(h->blocked_clients);
    g->clients_max = (uint64_t)conf->maxclients;
    g->clients_monitors = (uint64_t)LOAD(h->monitors);
    g->memory_rss_bytes = LOAD(h->rss_bytes);
    g->memory_peak_rss_bytes = LOAD(h->rss_peak_bytes);
    g->memory_maxmemory = (uint64_t)conf->maxmemory;
    g->memory_used_bytes = LOAD(h->used_bytes);
    g->memory_peak_used_bytes = LOAD(h->used_peak_bytes);
    g->memory_client_bytes = LOAD(h->client_bytes);
    g->memory_allocator_allocated_bytes = mem_allocated_bytes();
    g->memory_allocator_resident_bytes = mem_resident_bytes();
    g->locks_shard_contended = lock_contended(LOCK_SHARD);
}

void sight_gauges(struct server *srv, const struct conf *conf, struct gauges *out) {
    *out = (struct gauges){0};
    read_host(&srv->host, conf, out);
    read_l1(srv, out);
    read_tier(srv, out);
    struct pool_stats p;
    pool_stats_read(srv->host.pool, 0, &p);
    out->pool_threads = pool_threads(srv->host.pool);
    out->pool_waiting = p.depth;
    out->pool_wait_us = p.wait_us;
    out->pool_busy_us = p.busy_us;
    struct agent_stats members;
    if (!LOAD(srv->host.loading) && cluster_stats(srv, &members)) { /* who asks over HTTP may come early */
        cluster_gauges(&members, out);
    }
    if (srv->disk != NULL) {
        size_t now, most;
        disk_memory(srv->disk, &now, &most);
        out->memory_disk_tier_bytes = now;
    }
}

double sight_fragmentation(const struct gauges *g) {
    return g->memory_used_bytes > 0 ? (double)g->memory_rss_bytes / (double)g->memory_used_bytes : 1;
}

struct naming {
    void (*fn)(void *ctx, const char *name, const struct conn_numbers *n);
    void *ctx;
};

static void name_origin(void *ctx, const char *origin, const struct conn_numbers *n) {
    const struct naming *naming = ctx;
    struct buf name = {0};
    buf_printf(&name, "origin_%s", origin);
    buf_putc(&name, '\0');
    naming->fn(naming->ctx, name.p, n);
    buf_free(&name);
}

static bool were_any(const struct conn_numbers *n) {
    return n->opened + n->failed + n->open > 0;
}

static void cluster_conns(struct server *srv, const struct naming *naming) {
    struct host *h = &srv->host;
    struct conn_numbers peers = {0};
    struct agent_stats s;
    for (unsigned i = 0; i < h->loop_count; i++) {
        conn_numbers_add(&peers, &h->stats[i]->links);
    }
    naming->fn(naming->ctx, "peers", &peers);
    if (cluster_stats(srv, &s) && were_any(&s.driver)) {
        struct conf *conf = conf_store_current(h->conf_store);
        naming->fn(naming->ctx, driver_kind((unsigned)conf->cluster_driver)->name, &s.driver);
        conf_unref(conf);
    }
}

void sight_conns(struct server *srv, void (*fn)(void *ctx, const char *name, const struct conn_numbers *n), void *ctx) {
    struct naming naming = {fn, ctx};
    struct conn_numbers import = {0};
    if (LOAD(srv->host.loading)) {
        return;
    }
    if (srv->cluster != NULL) {
        cluster_conns(srv, &naming);
    }
    if (srv->origins != NULL) {
        origins_conns(srv->origins, name_origin, &naming);
    }
    import_conns(srv->import, &import);
    if (were_any(&import)) {
        fn(ctx, "import", &import);
    }
}

void sight_health(struct server *srv, struct buf *out) {
    if (!LOAD(srv->host.shutting_down) && !LOAD(srv->host.loading)) { /* it begins later than whoever asks, and ends before */
        health_info(srv->health, out);
    }
}

bool info_value(struct slice info, const char *name, struct slice *value) {
    size_t n = strlen(name);
    for (size_t at = 0; at < info.n;) {
        const char *stop = memchr(info.p + at, '\r', info.n - at);
        size_t end = stop != NULL ? (size_t)(stop - info.p) : info.n;
        if (end - at > n && info.p[at + n] == ':' && memcmp(info.p + at, name, n) == 0) {
            *value = slice_make(info.p + at + n + 1, end - at - n - 1);
            return true;
        }
        at = end + 2;
    }
    return false;
}

bool info_number(struct slice info, const char *name, uint64_t *value) {
    struct slice text;
    return info_value(info, name, &text) && num_parse_u64(text, value);
}

/* ---- tiers ---- */

/* What memory answered alone is what the commands have found, without what others brought; the same of how long it took. */
static void read_memory_tier(struct server *srv, struct tier_numbers tiers[STAT_TIERS]) {
    struct host *h = &srv->host;
    struct tier_numbers *n = &tiers[STAT_L1];
    struct l1_stats s;
    uint64_t brought = 0;
    l1_stats_read(h->l1, &s);
    for (unsigned i = 0; i < registry_count(); i++) {
        struct cmd_numbers c;
        bool reads = (registry_at(i)->flags & CMD_READONLY) && registry_at(i)->spec_count > 0;
        stats_read_command(h->stats, h->loop_count, i, &c, reads ? &n->latency : NULL);
        n->hits += c.hits;
        n->misses += c.misses;
    }
    for (unsigned t = STAT_L2; t < STAT_TIERS; t++) {
        brought += tiers[t].hits;
        n->fills += tiers[t].promotions;
        hist_sum_take(&n->latency, &tiers[t].latency);
    }
    n->hits -= brought < n->hits ? brought : n->hits;
    n->misses += brought;
    n->on = true;
    n->evictions[EVICTION_memory] += s.evicted;
    n->evictions[EVICTION_expired] += s.expired;
    n->evictions[EVICTION_flushed] += s.swept;
    n->bytes = l1_bytes(h->l1);
    n->limit_bytes = LOAD(h->l1->limit_bytes);
    n->keys = l1_keys(h->l1);
}

/* Reads that went to other nodes, or to copies of what they have: memory did not answer them, and no command has counted them here. */
static void read_forwarded(struct server *srv, struct tier_numbers tiers[STAT_TIERS]) {
    struct host *h = &srv->host;
    struct tier_numbers *n = &tiers[STAT_L3];
    int64_t bytes = LOAD(h->near_bytes), copies = LOAD(h->near_copies);
    uint64_t before = n->hits + n->misses;
    for (unsigned w = 0; w < h->loop_count; w++) {
        tier_numbers_add(n, &h->stats[w]->forwarded);
    }
    tiers[STAT_L1].misses += n->hits + n->misses - before;
    n->on |= srv->cluster != NULL;
    n->bytes = bytes > 0 ? (uint64_t)bytes : 0;
    n->keys = copies > 0 ? (uint64_t)copies : 0;
    n->limit_bytes = (uint64_t)LOAD(h->near_limit_bytes);
}

void sight_tiers(struct server *srv, struct tier_numbers tiers[STAT_TIERS]) {
    struct host *h = &srv->host;
    memset(tiers, 0, STAT_TIERS * sizeof(*tiers));
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        for (unsigned w = 0; w < h->loop_count; w++) {
            tier_numbers_add(&tiers[t], &h->stats[w]->tiers[t]);
        }
    }
    for (unsigned i = 0; i < srv->tier.source_count; i++) {
        struct source *s = srv->tier.sources[i];
        tiers[s->tier].on = true;
        if (s->numbers != NULL) {
            s->numbers(s, tiers);
        }
    }
    if (srv->origins != NULL) {
        tiers[STAT_ORIGIN].on = true;
        origins_numbers(srv->origins, &tiers[STAT_ORIGIN]);
    }
    tiers[STAT_L3].promotions += STATS_SUM(h->stats, h->loop_count, peer_handover_found);
    read_memory_tier(srv, tiers);
    read_forwarded(srv, tiers);
}

/* ---- windows ---- */

struct hits sight_window(struct server *srv, enum stat_tier tier, enum window_span span) {
    struct chronicle *s = srv->chronicle;
    lock_acquire(&s->lock);
    struct hits h = window_read(&s->tiers[tier], span);
    lock_release(&s->lock);
    return h;
}

struct hits sight_command_window(struct server *srv, unsigned id, enum window_span span) {
    struct chronicle *s = srv->chronicle;
    lock_acquire(&s->lock);
    struct hits h = window_read(s->commands[id], span);
    lock_release(&s->lock);
    return h;
}

struct hits sight_rule_window(struct server *srv, const struct rule_stats *rule, enum window_span span) {
    struct chronicle *s = srv->chronicle;
    lock_acquire(&s->lock);
    struct hits h = window_read(rule->window, span);
    lock_release(&s->lock);
    return h;
}

static void note_commands(struct chronicle *s) {
    struct host *h = &s->server->host;
    for (unsigned i = 0; i < registry_count(); i++) {
        struct cmd_numbers c;
        stats_read_command(h->stats, h->loop_count, i, &c, NULL);
        if (s->commands[i] == NULL && c.hits + c.misses > 0) {
            s->commands[i] = mem_zalloc(sizeof(struct window));
            window_note(s->commands[i], (struct hits){0});
        }
        if (s->commands[i] != NULL) {
            window_note(s->commands[i], (struct hits){c.hits, c.misses});
        }
    }
}

static void note_rules(struct rules *rules) {
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        struct rule_stats *r = rules->list[i]->stats;
        if (r->window == NULL) {
            r->window = mem_zalloc(sizeof(struct window));
        }
        window_note(r->window, (struct hits){rule_count_read(r, RULE_hits), rule_count_read(r, RULE_misses)});
    }
}

static void put_rates(struct server *srv, enum stat_tier t, const struct tier_numbers *n, struct buf *out) {
    const char *name = tier_names[t].name;
    buf_printf(out, "%s_hit_rate:%.4f\r\n", name, hits_rate((struct hits){n->hits, n->misses}));
    for (int w = 0; w < WINDOW_SPANS; w++) {
        buf_printf(out, "%s_hit_rate_%s:%.4f\r\n", name, window_name((enum window_span)w), hits_rate(sight_window(srv, t, (enum window_span)w)));
    }
    for (int i = 0; i < HIST_PERCENTS; i++) {
        buf_printf(out, "%s_latency_us_p%.10g:%llu\r\n", name, hist_percents[i],
                   (unsigned long long)clock_ticks_to_us(hist_quantile(&n->latency, hist_percents[i])));
    }
}

static void put_rows(enum stat_tier t, const char *word, const struct tier_row *rows, unsigned count, const struct tier_numbers *n,
                     struct buf *out) {
    for (unsigned i = 0; i < count; i++) {
        if (tier_has(t, &rows[i])) {
            buf_printf(out, "%s_%s%s:%llu\r\n", tier_names[t].name, word, rows[i].name, (unsigned long long)tier_number(n, &rows[i]));
        }
    }
}

void sight_tier_lines(struct server *srv, struct buf *out) {
    struct tier_numbers *tiers = mem_alloc(STAT_TIERS * sizeof(*tiers));
    sight_tiers(srv, tiers);
    for (enum stat_tier t = 0; t < STAT_TIERS; t++) {
        if (tiers[t].on) {
            put_rows(t, "", tier_gauges, tier_gauge_count, &tiers[t], out);
            put_rows(t, "", tier_counters, tier_counter_count, &tiers[t], out);
            put_rows(t, "evicted_", eviction_reasons, EVICTION_REASONS, &tiers[t], out);
            put_rows(t, "rejected_", reject_reasons, REJECT_REASONS, &tiers[t], out);
            put_rates(srv, t, &tiers[t], out);
        }
    }
    mem_free(tiers);
}

/* ---- the second's note ---- */

static uint64_t all_rejects(const struct tier_numbers *n) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < REJECT_REASONS; i++) {
        sum += n->rejects[i];
    }
    return sum;
}

static void fill_moment(struct server *srv, const struct tier_numbers *tiers, struct moment *m) {
    struct host *h = &srv->host;
    const struct tier_numbers *l1 = &tiers[STAT_L1], *l2 = &tiers[STAT_L2], *l3 = &tiers[STAT_L3], *origin = &tiers[STAT_ORIGIN];
    const struct {
        enum series_sum to;
        uint64_t value;
    } sums[] = {{SUM_ops, STATS_SUM_COMMANDS(h->stats, h->loop_count, calls)},
                {SUM_errors, STATS_SUM(h->stats, h->loop_count, total_error_replies)},
                {SUM_net_in, STATS_SUM(h->stats, h->loop_count, total_net_input_bytes)},
                {SUM_net_out, STATS_SUM(h->stats, h->loop_count, total_net_output_bytes)},
                {SUM_l1_hits, l1->hits},
                {SUM_l1_misses, l1->misses},
                {SUM_l2_hits, l2->hits},
                {SUM_l2_misses, l2->misses},
                {SUM_l3_hits, l3->hits},
                {SUM_l3_misses, l3->misses},
                {SUM_origin_hits, origin->hits},
                {SUM_origin_misses, origin->misses},
                {SUM_origin_loads, LOAD(srv->tier.loads)},
                {SUM_stale, l1->stale + l2->stale + l3->stale},
                {SUM_negative, l1->negative},
                {SUM_promotions, l1->fills},
                {SUM_demotions, l1->demotions},
                {SUM_evictions, l1->evictions[EVICTION_memory]},
                {SUM_expired, l1->evictions[EVICTION_expired]},
                {SUM_rejects, all_rejects(l2)}};
    _Static_assert(sizeof(sums) / sizeof(sums[0]) == SERIES_SUMS, "every sum is noted");
    for (unsigned i = 0; i < SERIES_SUMS; i++) {
        m->sums[sums[i].to] = sums[i].value;
    }
    m->nows[NOW_rss] = LOAD(h->rss_bytes);
    m->nows[NOW_l1_bytes] = l1->bytes;
    m->nows[NOW_l2_bytes] = l2->bytes;
    m->nows[NOW_l1_keys] = l1->keys;
    m->nows[NOW_l2_keys] = l2->keys;
    m->nows[NOW_clients] = (uint64_t)LOAD(h->clients);
}

static void note_second(struct chronicle *s, int64_t now_ms) {
    struct server *srv = s->server;
    struct tier_numbers *tiers = mem_alloc(STAT_TIERS * sizeof(*tiers));
    struct moment m = {.at_ms = now_ms};
    struct hist_sum all = {0};
    sight_tiers(srv, tiers);
    for (unsigned i = 0; i < registry_count(); i++) {
        struct cmd_numbers c;
        stats_read_command(srv->host.stats, srv->host.loop_count, i, &c, &all);
    }
    fill_moment(srv, tiers, &m);
    history_note(s->history, &m, &all);
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        window_note(&s->tiers[t], (struct hits){tiers[t].hits, tiers[t].misses});
    }
    note_commands(s);
    mem_free(tiers);
}

void chronicle_tick(struct chronicle *s, int64_t now_ms) {
    int64_t since = now_ms - s->noted_ms;
    if (since >= 0 && since < SECOND_MS) {
        return;
    }
    struct rules *rules = guard_rules(s->server->tier.guard);
    if (lock_try(&s->lock)) { /* whoever renders is quick: a tenth of a second later will do */
        s->noted_ms = since < 2 * SECOND_MS && since > 0 ? s->noted_ms + SECOND_MS : now_ms;
        note_second(s, now_ms);
        note_rules(rules);
        lock_release(&s->lock);
    }
    rules_unref(rules);
}

/* ---- readiness ---- */

bool sight_ready(struct server *srv, struct buf *why) {
    size_t before = why->n;
    if (LOAD(srv->host.loading)) {
        buf_puts(why, "loading: the RDB file is being read\n");
    }
    if (LOAD(srv->host.shutting_down)) {
        buf_puts(why, "shutting down\n");
    }
    const char *disk = srv->disk != NULL ? disk_trouble(srv->disk) : NULL;
    if (disk != NULL) {
        buf_printf(why, "disk tier: %s\n", disk);
    }
    return why->n == before;
}
