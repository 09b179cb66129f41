/* SPDX-License-Identifier: BSD-3-Clause */
/* sight_prom: the numbers in Prometheus's text format 0.0.4. Names begin with strata_; counters end in _total; times are seconds. */
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/json.h"
#include "src/base/mem.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/server/health.h"
#include "src/server/server.h"
#include "src/server/sight_int.h"
#include "src/stats/errors.h"
#include "src/stats/stats.h"
#include "src/tier/guard.h"

enum { NAME_MAX_BYTES = 128, LE_EDGES = 24 /* 1 us, doubled up to 8 s */ };

/* ---- the format ---- */

static void put_help(struct buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '\\' || *text == '\n') {
            buf_puts(out, *text == '\n' ? "\\n" : "\\\\");
        } else {
            buf_putc(out, *text);
        }
    }
}

static void put_head(struct buf *out, const char *name, const char *type, const char *help) {
    buf_printf(out, "# HELP %s ", name);
    put_help(out, help);
    buf_printf(out, "\n# TYPE %s %s\n", name, type);
}

/* A label's value: escaped, and what is not UTF-8 replaced, as the format demands. */
static void put_label(struct buf *out, struct slice text) {
    for (size_t i = 0; i < text.n;) {
        size_t len = utf8_len(text.p + i, text.n - i);
        char c = text.p[i];
        if (len == 0) {
            buf_puts(out, "\xEF\xBF\xBD");
            len = 1;
        } else if (c == '\\' || c == '"' || c == '\n') {
            buf_printf(out, "\\%c", c == '\n' ? 'n' : c);
        } else {
            buf_put(out, text.p + i, len);
        }
        i += len;
    }
}

static void put_plain(struct buf *out, const char *name, uint64_t v) {
    buf_printf(out, "%s %llu\n", name, (unsigned long long)v);
}

/* name{label="value",...} of one or two labels, the second's value one of the program's own. */
static void put_labelled(struct buf *out, const char *name, const char *label, struct slice value, const char *label2,
                         const char *value2, uint64_t v) {
    buf_printf(out, "%s{%s=\"", name, label);
    put_label(out, value);
    buf_putc(out, '"');
    if (label2 != NULL) {
        buf_printf(out, ",%s=\"%s\"", label2, value2);
    }
    buf_printf(out, "} %llu\n", (unsigned long long)v);
}

/* ---- counters and gauges ---- */

/* "total_reads_processed" and "loop_turns" as "strata_reads_processed_total" and "strata_loop_turns_total". */
static void counter_name(char *out, const char *name) {
    snprintf(out, NAME_MAX_BYTES, "strata_%s_total", strncmp(name, "total_", 6) == 0 ? name + 6 : name);
}

static void put_counter(struct buf *out, const char *info_name, const char *doc, uint64_t v) {
    char name[NAME_MAX_BYTES];
    counter_name(name, info_name);
    put_head(out, name, "counter", doc);
    put_plain(out, name, v);
}

static void put_counters(struct host *h, struct buf *out) {
#define COUNTER(field, section, info_name, doc) put_counter(out, info_name, doc, STATS_SUM(h->stats, h->loop_count, field));
#define COMMAND_SUM(field, section, info_name, doc) put_counter(out, info_name, doc, STATS_SUM_COMMANDS(h->stats, h->loop_count, field));
#include "src/stats/counters.def"
}

/* Units in full, times in seconds: "pool" "wait_us" as "strata_pool_wait_seconds_total". Returns what a value is multiplied with. */
static double gauge_name(char *out, const char *group, const char *name, bool counts) {
    static const struct {
        const char *end, *instead;
        double unit;
    } units[] = {{"_us", "_seconds", 1e-6}, {"_s", "_seconds", 1}, {"_sec", "_second", 1}, {"", "", 1}};
    size_t n = strlen(name), u = 0;
    while (n < strlen(units[u].end) || strcmp(name + n - strlen(units[u].end), units[u].end) != 0) {
        u++;
    }
    snprintf(out, NAME_MAX_BYTES, "strata_%s_%.*s%s%s", group, (int)(n - strlen(units[u].end)), name, units[u].instead, counts ? "_total" : "");
    return units[u].unit;
}

static void put_gauge(struct buf *out, const char *group, const char *row, bool counts, const char *doc, uint64_t v) {
    char name[NAME_MAX_BYTES];
    double unit = gauge_name(name, group, row, counts);
    put_head(out, name, counts ? "counter" : "gauge", doc);
    buf_printf(out, "%s %.17g\n", name, (double)v * unit);
}

struct health_text {
    struct buf *out;
    struct buf info; /* INFO's section */
};

static void put_health_row(void *ctx, const char *name, const char *doc) {
    const struct health_text *t = ctx;
    const char *row = name + strlen("health_");
    uint64_t v;
    if (info_number(buf_slice(&t->info), name, &v)) {
        put_gauge(t->out, "health", row, strncmp(row, "alarms_", 7) == 0, doc, v);
    }
}

static void put_health(struct server *srv, struct buf *out) {
    struct health_text t = {.out = out};
    sight_health(srv, &t.info);
    health_rows(put_health_row, &t);
    buf_free(&t.info);
}

static void put_gauges(struct server *srv, const struct conf *conf, struct buf *out) {
    struct gauges g;
    sight_gauges(srv, conf, &g);
    for (unsigned i = 0; i < gauge_count; i++) {
        const struct gauge_row *row = &gauge_rows[i];
        put_gauge(out, row->group, row->name, row->kind[0] == 'c', row->doc, gauge_value(&g, row));
    }
    put_head(out, "strata_memory_fragmentation_ratio", "gauge", "Resident bytes over bytes in use.");
    buf_printf(out, "strata_memory_fragmentation_ratio %.4f\n", sight_fragmentation(&g));
    put_head(out, "strata_info", "gauge", "Always 1; the labels say what runs.");
    buf_puts(out, "strata_info{version=\"" STRATA_VERSION "\",policy=\"");
    put_label(out, slice_cstr(l1_policy_name(srv->host.l1)));
    buf_printf(out, "\",run_id=\"%s\"} 1\n", srv->host.run_id);
}

/* ---- histograms ---- */

/* sum in ticks; as a middle of each bucket when it is not known. */
static double middle_sum(const struct hist_sum *h) {
    double sum = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        sum += (double)h->n[i] * ((double)hist_edge(i) + (double)(i > 0 ? hist_edge(i - 1) : 0)) / 2;
    }
    return sum;
}

static void put_hist(struct buf *out, const char *name, const char *label, struct slice value, const struct hist_sum *h, double sum) {
    struct buf who = {0}; /* label="value", of every line */
    uint64_t upto = 0;
    unsigned i = 0;
    buf_printf(&who, "%s=\"", label);
    put_label(&who, value);
    buf_putc(&who, '"');
    for (int e = 0; e < LE_EDGES; e++) {
        uint64_t edge = clock_us_to_ticks((uint64_t)1 << e);
        for (; i < HIST_BUCKETS && hist_edge(i) <= edge; i++) {
            upto += h->n[i];
        }
        buf_printf(out, "%s_bucket{%.*s,le=\"%.6f\"} %llu\n", name, (int)who.n, who.p, (double)((uint64_t)1 << e) / 1e6, (unsigned long long)upto);
    }
    buf_printf(out, "%s_bucket{%.*s,le=\"+Inf\"} %llu\n%s_sum{%.*s} %.9f\n%s_count{%.*s} %llu\n", name, (int)who.n, who.p,
               (unsigned long long)h->count, name, (int)who.n, who.p, (double)clock_ticks_to_us((uint64_t)sum) / 1e6, name, (int)who.n, who.p,
               (unsigned long long)h->count);
    buf_free(&who);
}

/* ---- outgoing connections ---- */

struct conn_series {
    struct buf *out;
    const struct conn_row *row;
    char name[NAME_MAX_BYTES];
    bool begun;
};

static void put_pool(void *ctx, const char *pool, const struct conn_numbers *n) {
    struct conn_series *s = ctx;
    if (!s->begun) { /* a head without series is one that nobody can ask for */
        put_head(s->out, s->name, s->row->counts ? "counter" : "gauge", s->row->doc);
        s->begun = true;
    }
    put_labelled(s->out, s->name, "pool", slice_cstr(pool), NULL, NULL, conn_number(n, s->row));
}

static void put_conns(struct server *srv, struct buf *out) {
    for (unsigned i = 0; i < CONN_ROWS; i++) {
        struct conn_series s = {.out = out, .row = &conn_rows[i]};
        snprintf(s.name, sizeof(s.name), "strata_connections_%s%s", s.row->name, s.row->counts ? "_total" : "");
        sight_conns(srv, put_pool, &s);
    }
}

/* ---- tiers ---- */

static void put_tier_rows(const struct tier_numbers *tiers, const struct tier_row *rows, unsigned n, bool counts, struct buf *out) {
    for (unsigned r = 0; r < n; r++) {
        char name[NAME_MAX_BYTES];
        snprintf(name, sizeof(name), "strata_tier_%s%s", rows[r].name, counts ? "_total" : "");
        put_head(out, name, counts ? "counter" : "gauge", rows[r].doc);
        for (unsigned t = 0; t < STAT_TIERS; t++) {
            put_labelled(out, name, "tier", slice_cstr(tier_names[t].name), NULL, NULL, tier_number(&tiers[t], &rows[r]));
        }
    }
}

static void put_reasons(const struct tier_numbers *tiers, const char *name, const char *help, const struct tier_row *rows, unsigned n,
                        struct buf *out) {
    put_head(out, name, "counter", help);
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        for (unsigned r = 0; r < n; r++) {
            if (tier_has((enum stat_tier)t, &rows[r])) {
                put_labelled(out, name, "tier", slice_cstr(tier_names[t].name), "reason", rows[r].name, tier_number(&tiers[t], &rows[r]));
            }
        }
    }
}

static void put_tiers(struct server *srv, struct buf *out) {
    struct tier_numbers *tiers = mem_alloc(STAT_TIERS * sizeof(*tiers));
    sight_tiers(srv, tiers);
    put_head(out, "strata_tier_on", "gauge", "Whether there is such a tier.");
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        put_labelled(out, "strata_tier_on", "tier", slice_cstr(tier_names[t].name), NULL, NULL, tiers[t].on);
    }
    put_tier_rows(tiers, tier_counters, tier_counter_count, true, out);
    put_tier_rows(tiers, tier_gauges, tier_gauge_count, false, out);
    put_reasons(tiers, "strata_tier_evictions_total", "Keys that left the tier, by reason.", eviction_reasons, EVICTION_REASONS, out);
    put_reasons(tiers, "strata_tier_rejects_total", "What the tier did not take, by reason.", reject_reasons, REJECT_REASONS, out);
    put_head(out, "strata_tier_duration_seconds", "histogram", "How long read commands took, by the last tier they asked; the sum is made of the buckets' middles.");
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        put_hist(out, "strata_tier_duration_seconds", "tier", slice_cstr(tier_names[t].name), &tiers[t].latency, middle_sum(&tiers[t].latency));
    }
    mem_free(tiers);
}

/* ---- commands ---- */

static bool was_called(const struct cmd_numbers *n) {
    return n->calls + n->rejected > 0;
}

static void put_commands(struct host *h, struct buf *out) {
    static const struct {
        const char *name, *help;
        size_t offset;
    } rows[] = {{"strata_command_calls_total", "Calls.", offsetof(struct cmd_numbers, calls)},
                {"strata_command_rejected_total", "Calls that were not run.", offsetof(struct cmd_numbers, rejected)},
                {"strata_command_failed_total", "Calls that were answered with an error.", offsetof(struct cmd_numbers, failed)},
                {"strata_command_hits_total", "Look-ups that found the key.", offsetof(struct cmd_numbers, hits)},
                {"strata_command_misses_total", "Look-ups that did not.", offsetof(struct cmd_numbers, misses)},
                {"strata_command_stale_total", "Look-ups that found a value past its lifetime.", offsetof(struct cmd_numbers, stale)},
                {"strata_command_negative_total", "Look-ups answered by what is known of absent keys.", offsetof(struct cmd_numbers, negative)}};
    struct cmd_numbers n;
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        put_head(out, rows[r].name, "counter", rows[r].help);
        for (unsigned i = 0; i < registry_count(); i++) {
            stats_read_command(h->stats, h->loop_count, i, &n, NULL);
            if (was_called(&n)) {
                put_labelled(out, rows[r].name, "command", slice_cstr(registry_at(i)->full_name), NULL, NULL,
                             *(uint64_t *)((char *)&n + rows[r].offset));
            }
        }
    }
    put_head(out, "strata_command_duration_seconds", "histogram", "How long calls took, waiting for slower tiers included.");
    for (unsigned i = 0; i < registry_count(); i++) {
        struct hist_sum latency = {0};
        stats_read_command(h->stats, h->loop_count, i, &n, &latency);
        if (latency.count > 0) {
            put_hist(out, "strata_command_duration_seconds", "command", slice_cstr(registry_at(i)->full_name), &latency, (double)n.ticks);
        }
    }
}

/* ---- policies, errors ---- */

static void put_policy_times(const struct rules *rules, struct buf *out) {
    const char *name = "strata_policy_duration_seconds";
    if (rules != NULL) {
        put_head(out, name, "histogram", "How long calls with a key of the pattern took, waiting included; the sum is made of the buckets' middles.");
    }
    for (unsigned i = 0; rules != NULL && i < rules->count; i++) {
        struct hist_sum latency = {0};
        rule_latency_read(rules->list[i]->stats, &latency);
        put_hist(out, name, "pattern", rules->list[i]->pattern, &latency, middle_sum(&latency));
    }
}

static void put_policies(struct server *srv, struct buf *out) {
    static const struct {
        const char *name, *help;
    } rows[RULE_COUNTER_COUNT] = {
#define X(name, doc) {"strata_policy_" #name "_total", doc},
        RULE_COUNTERS(X)
#undef X
    };
    struct rules *rules = guard_rules(srv->tier.guard);
    for (unsigned k = 0; rules != NULL && k < RULE_COUNTER_COUNT; k++) {
        put_head(out, rows[k].name, "counter", rows[k].help);
        for (unsigned i = 0; i < rules->count; i++) {
            put_labelled(out, rows[k].name, "pattern", rules->list[i]->pattern, NULL, NULL,
                         rule_count_read(rules->list[i]->stats, (enum rule_counter)k));
        }
    }
    put_policy_times(rules, out);
    rules_unref(rules);
}

static void put_error(void *ctx, const char *kind, uint64_t count) {
    put_labelled(ctx, "strata_errors_total", "kind", slice_cstr(kind), NULL, NULL, count);
}

void sight_prom(struct server *srv, struct buf *out) {
    struct conf *conf = conf_store_current(srv->host.conf_store);
    put_gauges(srv, conf, out);
    put_counters(&srv->host, out);
    put_health(srv, out);
    put_conns(srv, out);
    put_tiers(srv, out);
    put_commands(&srv->host, out);
    put_policies(srv, out);
    put_head(out, "strata_errors_total", "counter", "Error replies by their first word.");
    error_counts_each(srv->host.errors, put_error, out);
    conf_unref(conf);
}
