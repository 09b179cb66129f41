/* SPDX-License-Identifier: BSD-3-Clause */
/* cache_stats: CACHE STATS and CACHE EXPORT: what the cache has counted. */
#include "src/cmd/cache.h"

#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cmd/call.h"
#include "src/tier/tier.h"

/* ---- STATS ---- */

static void put_number(struct out *o, const char *name, uint64_t v) {
    reply_bulk_cstr(o, name);
    reply_int(o, (int64_t)v);
}

static void put_rate(struct out *o, const char *name, struct hits h) {
    reply_bulk_cstr(o, name);
    reply_double(o, hits_rate(h));
}

/* Those rows that the tier has. */
static void put_rows(struct out *o, enum stat_tier t, const struct tier_row *rows, unsigned count, const struct tier_numbers *n) {
    for (unsigned i = 0; i < count; i++) {
        if (tier_has(t, &rows[i])) {
            put_number(o, rows[i].name, tier_number(n, &rows[i]));
        }
    }
}

static void put_reasons(struct out *o, const char *name, enum stat_tier t, const struct tier_row *rows, unsigned count,
                        const struct tier_numbers *n) {
    reply_bulk_cstr(o, name);
    reply_map(o, tier_count_rows(t, rows, count));
    put_rows(o, t, rows, count, n);
}

static void put_latency(struct out *o, const struct hist_sum *h) {
    reply_bulk_cstr(o, "latency");
    reply_map(o, HIST_PERCENTS + 1);
    put_number(o, "count", h->count);
    for (int i = 0; i < HIST_PERCENTS; i++) {
        char name[24];
        snprintf(name, sizeof(name), "p%.10g_us", hist_percents[i]);
        put_number(o, name, clock_ticks_to_us(hist_quantile(h, hist_percents[i])));
    }
}

static void put_tier(struct call *c, enum stat_tier t, const struct tier_numbers *n) {
    struct out *o = c->out;
    static const char *const rates[WINDOW_SPANS] = {"hit_rate_1s", "hit_rate_1m", "hit_rate_15m"};
    reply_bulk_cstr(o, tier_names[t].name);
    reply_map(o, (int64_t)(tier_counter_count + tier_gauge_count + 1 + WINDOW_SPANS + 3));
    put_rows(o, t, tier_counters, tier_counter_count, n);
    put_rows(o, t, tier_gauges, tier_gauge_count, n);
    put_rate(o, "hit_rate", (struct hits){n->hits, n->misses});
    for (int w = 0; w < WINDOW_SPANS; w++) {
        put_rate(o, rates[w], c->host->ops->tier_window(c->host, t, (enum window_span)w));
    }
    put_reasons(o, "evictions", t, eviction_reasons, EVICTION_REASONS, n);
    put_reasons(o, "rejects", t, reject_reasons, REJECT_REASONS, n);
    put_latency(o, &n->latency);
}

static void stats_of_tiers(struct call *c) {
    struct tier_numbers *tiers = mem_alloc(STAT_TIERS * sizeof(*tiers));
    int64_t on = 0;
    c->host->ops->tiers(c->host, tiers);
    for (enum stat_tier t = 0; t < STAT_TIERS; t++) {
        on += tiers[t].on;
    }
    reply_map(c->out, on);
    for (enum stat_tier t = 0; t < STAT_TIERS; t++) {
        if (tiers[t].on) {
            put_tier(c, t, &tiers[t]);
        }
    }
    mem_free(tiers);
}

static enum err stats_of_policy(struct call *c, struct slice pattern) {
    static const char *const rates[WINDOW_SPANS] = {"hit_rate_1s", "hit_rate_1m", "hit_rate_15m"};
    struct rules *rules = guard_rules(c->host->tier->guard);
    const struct rule *rule = rules_find(rules, pattern);
    if (rule == NULL) {
        rules_unref(rules);
        return call_errorf(c, "ERR no policy of that pattern; see POLICY LIST");
    }
    struct hist_sum latency = {0};
    rule_latency_read(rule->stats, &latency);
    reply_map(c->out, 1 + WINDOW_SPANS + RULE_COUNTER_COUNT + 1);
    put_rate(c->out, "hit_rate", (struct hits){rule_count_read(rule->stats, RULE_hits), rule_count_read(rule->stats, RULE_misses)});
    for (int w = 0; w < WINDOW_SPANS; w++) {
        put_rate(c->out, rates[w], c->host->ops->rule_window(c->host, rule->stats, (enum window_span)w));
    }
#define X(name, doc) put_number(c->out, #name, rule_count_read(rule->stats, RULE_##name));
    RULE_COUNTERS(X)
#undef X
    put_latency(c->out, &latency);
    rules_unref(rules);
    return OK;
}

enum err cache_stats_run(struct call *c) {
    if (c->argc == 2) {
        stats_of_tiers(c);
        return OK;
    }
    return c->argc == 4 && arg_is(c, 2, "policy") ? stats_of_policy(c, c->argv[3]) : ERR_SYNTAX;
}

/* ---- EXPORT ---- */

/* The text is made on a thread of the pool: the handler runs a second time when it is there. */
struct export {
    struct call_job job;
    struct host *host;
    enum host_export form;
    struct buf text;
};

static void export_work(struct job *job) {
    struct export *e = (struct export *)job;
    e->host->ops->export(e->host, e->form, &e->text);
}

static void export_free(void *state) {
    struct export *e = state;
    buf_free(&e->text);
    mem_free(e);
}

static enum err export_end(struct call *c) {
    struct export *e = c->state;
    c->state = NULL;
    enum err err = OK;
    if (e->job.refused) {
        err = call_errorf(c, "ERR too much work is waiting for a thread");
    } else {
        reply_verbatim(c->out, "txt", buf_slice(&e->text));
    }
    export_free(e);
    return err;
}

enum err cache_export_run(struct call *c) {
    static const char *const forms[] = {[EXPORT_JSON] = "json", [EXPORT_HISTORY] = "history", [EXPORT_PROMETHEUS] = "prometheus"};
    if (c->state != NULL) {
        return export_end(c);
    }
    for (int i = 0; i < 3; i++) {
        if (arg_is(c, 2, forms[i])) {
            struct export *e = mem_zalloc(sizeof(*e));
            e->host = c->host;
            e->form = (enum host_export)i;
            e->job.job.run = export_work;
            c->state = e;
            c->state_free = export_free;
            return call_wait(c, &e->job);
        }
    }
    return call_errorf(c, "ERR no such form; allowed: json, history, prometheus");
}
