/* SPDX-License-Identifier: BSD-3-Clause */
/* sight_json: the numbers as one JSON object: docs/api.md. Members that do not apply are empty, never absent. */
#include <stdio.h>
#include <unistd.h>

#include "cluster/agent.h"
#include "cluster/ring.h"
#include "src/base/clock.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/origin/origin.h"
#include "src/rt/loop.h"
#include "src/server/cluster.h"
#include "src/server/health.h"
#include "src/server/server.h"
#include "src/server/sight_int.h"
#include "src/server/worker.h"
#include "src/sight/sight.h"
#include "src/stats/stats.h"
#include "src/tier/guard.h"

/* ---- pieces ---- */

static const char *const percentile_names[HIST_PERCENTS] = {"p50", "p90", "p99", "p999", "p9999"}; /* of hist_percents */

static double percentile_us(const struct hist_sum *h, double percent) {
    return (double)clock_ticks_to_us(hist_quantile(h, percent) * 1000) / 1000;
}

static void put_latency(struct json *j, const char *name, const struct hist_sum *h) {
    json_open(j, name, '{');
    for (int i = 0; i < HIST_PERCENTS; i++) {
        json_double(j, percentile_names[i], percentile_us(h, hist_percents[i]));
    }
    json_u64(j, "count", h->count);
    json_close(j, '}');
}

/* The members of one group of gauges. */
static void put_group(struct json *j, const struct gauges *g, const char *group) {
    for (unsigned i = 0; i < gauge_count; i++) {
        if (strcmp(gauge_rows[i].group, group) == 0) {
            json_u64(j, gauge_rows[i].name, gauge_value(g, &gauge_rows[i]));
        }
    }
}

static void put_windows(struct json *j, struct server *srv, struct hits (*read)(struct server *srv, const void *what, enum window_span span),
                        const void *what) {
    json_open(j, "windows", '{');
    for (int w = 0; w < WINDOW_SPANS; w++) {
        struct hits h = read(srv, what, (enum window_span)w);
        json_open(j, window_name((enum window_span)w), '{');
        json_u64(j, "hits", h.hits);
        json_u64(j, "misses", h.misses);
        json_double(j, "hit_rate", hits_rate(h));
        json_close(j, '}');
    }
    json_close(j, '}');
}

static struct hits tier_window(struct server *srv, const void *what, enum window_span span) {
    return sight_window(srv, *(const enum stat_tier *)what, span);
}

static struct hits command_window(struct server *srv, const void *what, enum window_span span) {
    return sight_command_window(srv, *(const unsigned *)what, span);
}

static struct hits rule_window(struct server *srv, const void *what, enum window_span span) {
    return sight_rule_window(srv, what, span);
}

/* ---- the server ---- */

static void put_server(struct json *j, struct server *srv, const struct conf *conf, const struct gauges *g) {
    struct host *h = &srv->host;
    json_open(j, "server", '{');
    json_cstr(j, "version", STRATA_VERSION);
    json_i64(j, "pid", getpid());
    json_cstr(j, "run_id", h->run_id);
    json_cstr(j, "policy", l1_policy_name(h->l1));
    json_u64(j, "maxmemory", (uint64_t)conf->maxmemory);
    json_bool(j, "l2", srv->disk != NULL);
    json_cstr(j, "mode", atomic_load(&h->loading) ? "loading" : atomic_load(&h->shutting_down) ? "shutting down" : "serving");
    put_group(j, g, "server");
    json_close(j, '}');
}

static void put_groups(struct json *j, struct server *srv, const struct gauges *g) {
    json_open(j, "ops", '{');
    put_group(j, g, "ops");
    json_u64(j, "total", STATS_SUM_COMMANDS(srv->host.stats, srv->host.loop_count, calls));
    json_close(j, '}');
    json_open(j, "memory", '{');
    put_group(j, g, "memory");
    json_double(j, "fragmentation", sight_fragmentation(g));
    json_close(j, '}');
    static const char *const plain[] = {"net", "clients", "l1", "fills", "guards", "pool", "locks", "members"};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        json_open(j, plain[i], '{');
        put_group(j, g, plain[i]);
        json_close(j, '}');
    }
}

static void put_counters(struct json *j, struct host *h) {
    json_open(j, "counters", '{');
#define COUNTER(field, section, info_name, doc) json_u64(j, info_name, STATS_SUM(h->stats, h->loop_count, field));
#define COMMAND_SUM(field, section, info_name, doc) json_u64(j, info_name, STATS_SUM_COMMANDS(h->stats, h->loop_count, field));
#include "src/stats/counters.def"
    json_close(j, '}');
}

/* ---- tiers ---- */

static void put_rows(struct json *j, enum stat_tier t, const struct tier_numbers *n, const struct tier_row *rows, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (tier_has(t, &rows[i])) {
            json_u64(j, rows[i].name, tier_number(n, &rows[i]));
        }
    }
}

static void put_tiers(struct json *j, struct server *srv) {
    struct tier_numbers *tiers = mem_alloc(STAT_TIERS * sizeof(*tiers));
    sight_tiers(srv, tiers);
    json_open(j, "tiers", '{');
    for (enum stat_tier t = 0; t < STAT_TIERS; t++) {
        const struct tier_numbers *n = &tiers[t];
        json_open(j, tier_names[t].name, '{');
        json_bool(j, "on", n->on);
        put_rows(j, t, n, tier_counters, tier_counter_count);
        put_rows(j, t, n, tier_gauges, tier_gauge_count);
        json_double(j, "hit_rate", hits_rate((struct hits){n->hits, n->misses}));
        put_windows(j, srv, tier_window, &t);
        json_open(j, "evictions", '{');
        put_rows(j, t, n, eviction_reasons, EVICTION_REASONS);
        json_close(j, '}');
        json_open(j, "rejects", '{');
        put_rows(j, t, n, reject_reasons, REJECT_REASONS);
        json_close(j, '}');
        put_latency(j, "latency_us", &n->latency);
        json_close(j, '}');
    }
    json_close(j, '}');
    mem_free(tiers);
}

/* ---- commands, policies, origins ---- */

static void put_command(struct json *j, struct server *srv, unsigned id) {
    struct cmd_numbers n;
    struct hist_sum latency = {0};
    stats_read_command(srv->host.stats, srv->host.loop_count, id, &n, &latency);
    if (n.calls + n.rejected == 0) {
        return;
    }
    json_open(j, NULL, '{');
    json_cstr(j, "name", registry_at(id)->full_name);
    json_u64(j, "calls", n.calls);
    json_u64(j, "usec", clock_ticks_to_us(n.ticks));
    for (int i = 0; i < HIST_PERCENTS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%s_us", percentile_names[i]);
        json_double(j, name, percentile_us(&latency, hist_percents[i]));
    }
    json_u64(j, "rejected", n.rejected);
    json_u64(j, "failed", n.failed);
    json_u64(j, "hits", n.hits);
    json_u64(j, "misses", n.misses);
    json_u64(j, "stale", n.stale);
    json_u64(j, "negative", n.negative);
    json_double(j, "hit_rate", hits_rate((struct hits){n.hits, n.misses}));
    put_windows(j, srv, command_window, &id);
    json_close(j, '}');
}

static void put_policy(struct json *j, struct server *srv, const struct rule *rule) {
    struct buf options = {0};
    struct hits all = {rule_count_read(rule->stats, RULE_hits), rule_count_read(rule->stats, RULE_misses)};
    struct hist_sum latency = {0};
    rule_print(rule, &options);
    json_open(j, NULL, '{');
    json_text(j, "pattern", rule->pattern);
    json_text(j, "options", options.n > 0 ? slice_make(options.p + 1, options.n - 1) : slice_make("", 0)); /* a blank comes first */
    json_double(j, "hit_rate", hits_rate(all));
    put_windows(j, srv, rule_window, rule->stats);
    json_open(j, "counters", '{');
#define X(name, doc) json_u64(j, #name, rule_count_read(rule->stats, RULE_##name));
    RULE_COUNTERS(X)
#undef X
    json_close(j, '}');
    rule_latency_read(rule->stats, &latency);
    put_latency(j, "latency_us", &latency);
    json_close(j, '}');
    buf_free(&options);
}

static void put_lists(struct json *j, struct server *srv) {
    struct rules *rules = guard_rules(srv->tier.guard);
    json_open(j, "commands", '[');
    for (unsigned i = 0; i < registry_count(); i++) {
        put_command(j, srv, i);
    }
    json_close(j, ']');
    json_open(j, "policies", '[');
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        put_policy(j, srv, rules->list[i]);
    }
    json_close(j, ']');
    json_open(j, "origins", '[');
    if (srv->origins != NULL) {
        origins_json(srv->origins, j->out);
    }
    json_close(j, ']');
    rules_unref(rules);
}

/* ---- hot keys, big keys, curves ---- */

/* The logical number of a physical database, -1: it was flushed. */
static int logical_of(const struct l1 *l1, const struct conf *conf, uint8_t db) {
    for (int i = 0; i < conf->databases; i++) {
        if (l1->db_map[i] == db) {
            return i;
        }
    }
    return -1;
}

static void put_hot_keys(struct json *j, struct server *srv, const struct conf *conf) {
    struct sight_key *keys;
    unsigned n = sight_hot_keys(srv->host.sight, TOPK_KEEP, &keys);
    double ops = (double)atomic_load_explicit(&srv->host.ops_per_sec, memory_order_relaxed);
    json_open(j, "hot_keys", '[');
    for (unsigned i = 0; i < n; i++) {
        int db = logical_of(srv->host.l1, conf, keys[i].db);
        if (db < 0) {
            continue;
        }
        double share = ops > 0 ? keys[i].per_second / ops : 0;
        json_open(j, NULL, '{');
        json_text(j, "key", slice_make(keys[i].name, keys[i].name_n));
        json_i64(j, "db", db);
        json_u64(j, "count", keys[i].accesses);
        json_double(j, "per_second", keys[i].per_second);
        json_double(j, "share", share < 1 ? share : 1);
        json_close(j, '}');
    }
    json_close(j, ']');
    mem_free(keys);
}

/* Bytes of the value in memory now, and its type; 0: it is not there. */
static size_t size_now(struct l1 *l1, const struct big_item *item, enum value_type *type) {
    struct key key = key_make(slice_make(item->name, item->name_n), item->db);
    struct item_view v;
    size_t bytes = 0;
    unsigned shard = l1_shard_of(l1, key.hash);
    l1_lock(l1, shard);
    if (l1_get(l1, &key, clock_now_ms(), L1_NOTOUCH, &v)) {
        *type = v.type;
        bytes = v.type == TYPE_STRING ? v.str.n : value_bytes(v.value);
    }
    l1_unlock(l1, shard);
    return bytes;
}

static void put_big_keys(struct json *j, struct server *srv, const struct conf *conf) {
    struct big_item *items = mem_alloc(BIG_KEEP * sizeof(*items));
    unsigned n = big_list(&srv->host.sight->big, items, BIG_KEEP);
    json_open(j, "big_keys", '[');
    for (unsigned i = 0; i < n; i++) {
        enum value_type type = TYPE_NONE;
        int db = logical_of(srv->host.l1, conf, items[i].db);
        size_t bytes = db >= 0 ? size_now(srv->host.l1, &items[i], &type) : 0;
        if (bytes >= BIG_LEAST) {
            json_open(j, NULL, '{');
            json_text(j, "key", slice_make(items[i].name, items[i].name_n));
            json_i64(j, "db", db);
            json_cstr(j, "type", value_type_name(type));
            json_u64(j, "bytes", bytes);
            json_close(j, '}');
        }
    }
    json_close(j, ']');
    big_items_free(items, n);
    mem_free(items);
}

static void put_curve(struct json *j, const char *name, uint64_t bytes, const double *hit) {
    json_open(j, name, '{');
    if (hit != NULL) {
        json_u64(j, "size_bytes", bytes);
        json_open(j, "points", '[');
        for (unsigned i = 0; i < MRC_SCALES; i++) {
            json_open(j, NULL, '{');
            json_double(j, "scale", mrc_scales[i]);
            json_u64(j, "bytes", (uint64_t)((double)bytes * mrc_scales[i]));
            json_double(j, "hit_rate", hit[i]);
            json_close(j, '}');
        }
        json_close(j, ']');
    }
}

static void put_mrc(struct json *j, struct server *srv) {
    struct mrc_report r;
    sight_mrc(srv->host.sight, 0, &r);
    bool known = r.reads > 0, shadow = known && r.has_shadow;
    json_open(j, "mrc", '{');
    json_bool(j, "rough", r.rough);
    json_double(j, "sample_rate", r.rate);
    json_double(j, "reads", r.reads);
    put_curve(j, "l1", r.l1_bytes, known ? r.l1_hit : NULL);
    if (known) {
        double today = (double)r.l1_bytes;
        json_double(j, "gain_per_gb", mrc_hit_at(&r, today + (double)(1 << 30)) - mrc_hit_at(&r, today));
    }
    json_close(j, '}');
    put_curve(j, "l2", r.l2_bytes, known && r.has_l2 ? r.l2_hit : NULL);
    json_close(j, '}');
    json_open(j, "shadow", '{');
    if (shadow) {
        json_cstr(j, "policy", r.shadow);
        json_double(j, "hit_rate", r.shadow_hit);
        json_double(j, "live_hit_rate", r.l1_hit[MRC_TODAY]);
    }
    json_close(j, '}');
    json_close(j, '}');
}

/* Who asks over HTTP may come while the last parts of the server are being made. */
static bool is_complete(const struct server *srv) {
    return !atomic_load(&srv->host.loading);
}

static void put_node(struct json *j, struct server *srv, const struct agent_stats *s, const struct ring_node *n) {
    char addr[NODE_HOST_BYTES + 16];
    snprintf(addr, sizeof(addr), strchr(n->host, ':') != NULL ? "[%s]:%u" : "%s:%u", n->host, n->port);
    json_open(j, NULL, '{');
    json_cstr(j, "id", n->id);
    json_cstr(j, "addr", addr);
    json_cstr(j, "state", node_state_name(n->state));
    json_bool(j, "self", n->self);
    json_u64(j, "weight", n->weight);
    json_u64(j, "slots", n->slots);
    json_double(j, "share", (double)n->slots / RING_SLOTS);
    if (!n->self) {
        struct peer_sum p = cluster_peer(srv, n->id);
        json_u64(j, "calls", p.calls);
        json_u64(j, "lost", p.lost);
        json_u64(j, "rtt_us", p.rtt_us);
        json_cstr(j, "settings", cluster_settings_of(s, n->id));
    }
    json_close(j, '}');
}

static void put_peers(struct json *j, struct server *srv) {
    bool there = is_complete(srv) && srv->cluster != NULL;
    struct ring *ring = there ? ring_store_current(cluster_rings(srv)) : NULL;
    struct agent_stats s = {0};
    if (there) {
        cluster_stats(srv, &s);
    }
    json_open(j, "peers", '{');
    json_u64(j, "version", ring != NULL ? ring->version : 0);
    json_open(j, "nodes", '[');
    for (unsigned i = 0; ring != NULL && i < ring->n; i++) {
        put_node(j, srv, &s, &ring->nodes[i]);
    }
    json_close(j, ']');
    json_close(j, '}');
    if (ring != NULL) {
        ring_unref(ring);
    }
}

/* Each line of the text, or each word, as an element. */
static void put_pieces(struct json *j, struct slice text, char between) {
    for (size_t at = 0, end; at < text.n; at = end + 1) {
        const char *stop = memchr(text.p + at, between, text.n - at);
        end = stop != NULL ? (size_t)(stop - text.p) : text.n;
        json_text(j, NULL, slice_make(text.p + at, end - at));
    }
}

struct health_text {
    struct json *j;
    struct buf info; /* INFO's section */
};

static void put_health_row(void *ctx, const char *name, const char *doc) {
    const struct health_text *t = ctx;
    uint64_t v;
    (void)doc;
    if (info_number(buf_slice(&t->info), name, &v)) {
        json_u64(t->j, name + strlen("health_"), v);
    }
}

static void put_alarm(void *ctx, const char *name, const char *doc) {
    (void)name;
    json_text(ctx, NULL, slice_cstr(doc));
}

static void put_pool(void *ctx, const char *name, const struct conn_numbers *n) {
    struct json *j = ctx;
    json_open(j, NULL, '{');
    json_cstr(j, "name", name);
    for (unsigned i = 0; i < CONN_ROWS; i++) {
        json_u64(j, conn_rows[i].name, conn_number(n, &conn_rows[i]));
    }
    json_close(j, '}');
}

static void put_health(struct json *j, struct server *srv) {
    struct health_text t = {.j = j};
    struct buf why = {0};
    bool ready = sight_ready(srv, &why);
    sight_health(srv, &t.info);
    json_open(j, "health", '{');
    json_bool(j, "ready", ready);
    json_open(j, "loop_lag_us", '[');
    for (unsigned i = 0; i < srv->host.loop_count && srv->workers != NULL; i++) {
        json_open(j, NULL, '{');
        json_u64(j, "worker", i);
        json_u64(j, "max_us", loop_most_turn_us(srv->workers[i]->loop));
        json_close(j, '}');
    }
    json_close(j, ']');
    json_open(j, "alarms", '[');
    put_pieces(j, buf_slice(&why), '\n');
    if (t.info.n > 0) {
        health_alarms(srv->health, put_alarm, j);
    }
    json_close(j, ']');
    health_rows(put_health_row, &t);
    json_open(j, "connections", '[');
    sight_conns(srv, put_pool, j);
    json_close(j, ']');
    json_close(j, '}');
    buf_free(&why);
    buf_free(&t.info);
}

/* ---- history ---- */

static void put_moments(struct json *j, const struct moment *m, unsigned n) {
    json_open(j, "t", '[');
    for (unsigned i = 0; i < n; i++) {
        json_i64(j, NULL, m[i].at_ms);
    }
    json_close(j, ']');
    for (unsigned s = 0; s < SERIES_SUMS; s++) {
        json_open(j, series_sum_names[s], '[');
        for (unsigned i = 0; i < n; i++) {
            json_u64(j, NULL, m[i].sums[s]);
        }
        json_close(j, ']');
    }
    for (unsigned s = 0; s < SERIES_NOWS; s++) {
        json_open(j, series_now_names[s], '[');
        for (unsigned i = 0; i < n; i++) {
            json_u64(j, NULL, m[i].nows[s]);
        }
        json_close(j, ']');
    }
}

static void put_heat(struct json *j, const struct moment *m, unsigned n) {
    json_open(j, "bucket_us", '[');
    for (unsigned k = 0; k < HEAT_BUCKETS; k++) {
        json_u64(j, NULL, (uint64_t)1 << k);
    }
    json_close(j, ']');
    json_open(j, "latency_buckets", '[');
    for (unsigned i = 0; i < n; i++) {
        json_open(j, NULL, '[');
        for (unsigned k = 0; k < HEAT_BUCKETS; k++) {
            json_u64(j, NULL, m[i].heat[k]);
        }
        json_close(j, ']');
    }
    json_close(j, ']');
}

static void put_history(struct json *j, struct server *srv, bool coarse) {
    struct chronicle *s = srv->chronicle;
    unsigned max = coarse ? HISTORY_COARSE : HISTORY_FINE;
    struct moment *m = mem_alloc(max * sizeof(*m));
    lock_acquire(&s->lock);
    unsigned n = history_read(s->history, coarse, m, max);
    lock_release(&s->lock);
    json_open(j, "history", '{');
    json_u64(j, "step_s", coarse ? HISTORY_COARSE_S : 1);
    put_moments(j, m, n);
    put_heat(j, m, n);
    json_close(j, '}');
    mem_free(m);
}

/* ---- all ---- */

void sight_json(struct server *srv, struct buf *out) {
    struct json j = {.out = out};
    struct gauges g;
    struct conf *conf = conf_store_current(srv->host.conf_store);
    sight_gauges(srv, conf, &g);
    json_open(&j, NULL, '{');
    json_i64(&j, "now_ms", clock_now_ms());
    put_server(&j, srv, conf, &g);
    put_groups(&j, srv, &g);
    put_counters(&j, &srv->host);
    put_tiers(&j, srv);
    put_lists(&j, srv);
    put_hot_keys(&j, srv, conf);
    put_big_keys(&j, srv, conf);
    put_mrc(&j, srv);
    put_peers(&j, srv);
    put_health(&j, srv);
    put_history(&j, srv, false);
    json_close(&j, '}');
    conf_unref(conf);
}

void sight_json_long(struct server *srv, struct buf *out) {
    struct json j = {.out = out};
    json_open(&j, NULL, '{');
    put_history(&j, srv, true);
    json_close(&j, '}');
}
