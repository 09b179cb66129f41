/* SPDX-License-Identifier: BSD-3-Clause */
/* print: the program's tables as text. */
#include "src/server/print.h"

#include <stdio.h>
#include <string.h>

#include "src/base/buf.h"
#include "src/base/err.h"
#include "src/base/lock.h"
#include "src/cmd/cmd.h"
#include "src/conf/conf.h"
#include "src/guard/rule.h"
#include "src/origin/origin.h"
#include "src/server/health.h"
#include "src/server/sight_int.h"

static void each_row(void (*fn)(struct buf *out, const struct cmd *cmd), struct buf *out) {
    for (unsigned i = 0; i < registry_count(); i++) {
        fn(out, registry_at(i));
    }
}

static void commands_line(struct buf *out, const struct cmd *cmd) {
    buf_printf(out, "%s\t%s\t%d\t%s\t%s\n", family_at(cmd->family)->name, cmd->full_name,
               cmd->arity, cmd->row->keys != NULL ? cmd->row->keys : "-", cmd->row->syntax);
}

static void print_commands(struct buf *out) {
    each_row(commands_line, out);
}

static void docs_commands(struct buf *out) {
    buf_puts(out, "# Commands\n\nGenerated from the command table: `strata-server --print docs:commands`.\n");
    for (unsigned f = 0; f < family_count(); f++) {
        const struct family *family = family_at(f);
        buf_printf(out, "\n## %s\n\n| command | arguments | cost | since Redis | what it does |\n|---|---|---|---|---|\n",
                   family->title);
        for (unsigned i = 0; i < registry_count(); i++) {
            const struct cmd *cmd = registry_at(i);
            if (cmd->family != f) {
                continue;
            }
            buf_printf(out, "| `%s` | ", cmd->full_name);
            for (const char *p = cmd->row->syntax; *p != '\0'; p++) {
                buf_printf(out, *p == '|' ? "\\%c" : "%c", *p);
            }
            buf_printf(out, " | %s | %s | %s |\n", cmd->row->cost != NULL ? cmd->row->cost : "",
                       cmd->row->since != NULL ? cmd->row->since : "", cmd->row->summary);
        }
    }
}

struct counter {
    const char *section, *name, *doc;
};

static const struct counter counters[] = {
#define COUNTER(field, section, info_name, doc) {section, info_name, doc},
#define COMMAND_SUM(field, section, info_name, doc) {section, info_name, doc},
#include "src/stats/counters.def"
};

static void print_health_row(void *ctx, const char *name, const char *doc) {
    buf_printf(ctx, "health\t%s\t%s\n", name, doc);
}

static void docs_health_row(void *ctx, const char *name, const char *doc) {
    buf_printf(ctx, "| health | `%s` | %s |\n", name, doc);
}

static void print_stats(struct buf *out) {
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        buf_printf(out, "%s\t%s\t%s\n", counters[i].section, counters[i].name, counters[i].doc);
    }
    for (unsigned i = 0; i < tier_counter_count; i++) {
        buf_printf(out, "tiers\tTIER_%s\t%s\n", tier_counters[i].name, tier_counters[i].doc);
    }
    for (unsigned i = 0; i < gauge_count; i++) {
        buf_printf(out, "-\t%s_%s\t%s\n", gauge_rows[i].group, gauge_rows[i].name, gauge_rows[i].doc);
    }
    health_rows(print_health_row, out);
}

static void docs_rows(struct buf *out, const char *title, const struct tier_row *rows, unsigned n) {
    buf_printf(out, "| %s | |\n", title);
    for (unsigned i = 0; i < n; i++) {
        buf_printf(out, "| `%s` | ", rows[i].name);
        for (enum stat_tier t = 0; rows[i].in != (1u << STAT_TIERS) - 1 && t < STAT_TIERS; t++) {
            if (tier_has(t, &rows[i])) {
                buf_printf(out, "%s: ", tier_names[t].name);
            }
        }
        buf_printf(out, "%s |\n", rows[i].doc);
    }
}

static void docs_tiers(struct buf *out) {
    buf_puts(out, "\n## Of each tier\n\nThe tiers are");
    for (unsigned t = 0; t < STAT_TIERS; t++) {
        buf_printf(out, "%s `%s` (%s)", t > 0 ? "," : "", tier_names[t].name, tier_names[t].doc);
    }
    buf_puts(out, ". INFO tiers has lines as `l1_hits`, `l2_rejected_size`, `l1_hit_rate_1m`, CACHE STATS a map of each tier, "
                  "Prometheus `strata_tier_hits_total{tier=\"l1\"}`, the JSON `tiers.l1.hits`. A read counts for every tier that it "
                  "asked, as a hit of the one that answered and as a miss of those before.\n\n| | |\n|---|---|\n");
    docs_rows(out, "**counters**", tier_counters, tier_counter_count);
    docs_rows(out, "**now**", tier_gauges, tier_gauge_count);
    docs_rows(out, "**evictions by reason**", eviction_reasons, EVICTION_REASONS);
    docs_rows(out, "**rejects by reason**", reject_reasons, REJECT_REASONS);
    buf_puts(out, "\nReasons stand only where they can occur. What a tier cannot have stays 0: `promotions` of l1, since nothing is faster; `demotions` of all others, since\n"
                  "what leaves them goes nowhere; `negative` of l3, since the owner of a key knows that it is absent, and counts it; `stale` of the origin, whose answers are\n"
                  "new; its `bytes`, `limit_bytes` and `keys`, which are its own affair. What of a purge is still on the disk is dropped when somebody comes for it: `purged` of\n"
                  "its policy.\n\n"
                  "Of each command there are `calls`, `hits`, `misses`, `stale`, `negative`, hit rates and latencies: `strata_command_hits_total{command=\"get\"}`, the JSON\n"
                  "`commands[].hits`. Bytes, keys and what comes and goes belong to keys, not to commands.\n");
}

static void docs_gauges(struct buf *out) {
    buf_puts(out, "\n## Read when asked\n\nMembers of the JSON and, as `strata_GROUP_NAME`, series of Prometheus.\n\n| group | name | what it is |\n|---|---|---|\n");
    for (unsigned i = 0; i < gauge_count; i++) {
        buf_printf(out, "| %s | `%s` | %s |\n", gauge_rows[i].group, gauge_rows[i].name, gauge_rows[i].doc);
    }
}

static void docs_conns(struct buf *out) {
    buf_puts(out, "\n## Of outgoing connections\n\nFor each pool of connections that are kept: `peers`, `origin_NAME`, and once they had any `etcd` and `import`. INFO health has a line\n"
                  "`health_connections_POOL`, Prometheus `strata_connections_opened_total{pool=\"...\"}`, the JSON `health.connections`.\n\n| name | what it is |\n|---|---|\n");
    for (unsigned i = 0; i < CONN_ROWS; i++) {
        buf_printf(out, "| `%s` | %s |\n", conn_rows[i].name, conn_rows[i].doc);
    }
}

static void docs_series(struct buf *out) {
    static const struct {
        const char *name, *doc;
    } series[] = {
#define SERIES_SUM(name, doc) {#name, doc},
#define SERIES_NOW(name, doc) {#name, doc},
#include "src/stats/series.def"
    };
    buf_printf(out, "\n## Over time\n\nThe JSON's `history`: %d steps of a second, and %d of %d seconds.\n\n| series | what it is |\n|---|---|\n",
               HISTORY_FINE, HISTORY_COARSE, HISTORY_COARSE_S);
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
        buf_printf(out, "| `%s` | %s |\n", series[i].name, series[i].doc);
    }
}

static void docs_policies(struct buf *out) {
    static const struct {
        const char *name, *doc;
    } rows[] = {
#define X(name, doc) {#name, doc},
        RULE_COUNTERS(X)
#undef X
    };
    buf_puts(out, "\n## Of each policy\n\nINFO guards, POLICY GET, CACHE STATS POLICY, `strata_policy_NAME_total{pattern=\"...\"}`, `policies[].counters`.\n\n"
                  "How long calls with a key of the pattern took, from the first try to the reply, is kept beside: `calls` and `latency_us_p50`, `_p90`, `_p99`, `_p99.9`, `_p99.99` in\n"
                  "INFO guards, `latency` in CACHE STATS POLICY, `strata_policy_duration_seconds{pattern=\"...\"}`, `policies[].latency_us`. Of a call with several keys the first that\n"
                  "has a policy stands for all.\n\n"
                  "| name | what it counts |\n|---|---|\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_printf(out, "| `%s` | %s |\n", rows[i].name, rows[i].doc);
    }
}

static void docs_stats(struct buf *out) {
    buf_puts(out, "# Statistics\n\nGenerated from the tables of statistics: `strata-server --print docs:stats`. Counters are kept per event "
                  "loop and added up by whoever reads. How to read them over HTTP: [api.md](api.md).\n\n"
                  "| INFO section | field | what it counts |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
        buf_printf(out, "| %s | `%s` | %s |\n", counters[i].section, counters[i].name, counters[i].doc);
    }
    health_rows(docs_health_row, out);
    docs_tiers(out);
    docs_policies(out);
    docs_conns(out);
    docs_gauges(out);
    docs_series(out);
}

static void print_errors(struct buf *out) {
    for (int e = OK + 1; e < ERR_COUNT; e++) {
        if (err_text((enum err)e)[0] != '\0') {
            buf_printf(out, "%s\t%s\n", err_name((enum err)e), err_text((enum err)e));
        }
    }
}

static void docs_errors(struct buf *out) {
    buf_puts(out, "# Error replies\n\nGenerated from the table of errors: `strata-server --print docs:errors`. "
                  "Texts with arguments are made where they arise.\n\n| name | text |\n|---|---|\n");
    for (int e = OK + 1; e < ERR_COUNT; e++) {
        if (err_text((enum err)e)[0] != '\0') {
            buf_printf(out, "| %s | `%s` |\n", err_name((enum err)e), err_text((enum err)e));
        }
    }
}

static void docs_locking(struct buf *out) {
    buf_puts(out, "# Locks\n\nGenerated from the table of locks: `strata-server --print docs:locking`. A thread takes "
                  "locks in rising rank, several of one class in rising order; debug builds check it.\n\n"
                  "| lock | rank | what it protects |\n|---|---|---|\n");
    for (int i = 0; i < LOCK_CLASS_COUNT; i++) {
        buf_printf(out, "| %s | %d | %s |\n", lock_class_name((enum lock_class)i),
                   lock_class_rank((enum lock_class)i), lock_class_doc((enum lock_class)i));
    }
}

static void docs_config(struct buf *out) {
    conf_print_docs(out);
    buf_puts(out, "\n## Options of a policy\n\n`policy PATTERN option=value ...`; see [guards.md](guards.md).\n\n");
    rule_docs(out);
    buf_puts(out, "\n## Options of an origin\n\n`origin NAME URL option=value ...`; see [origins.md](origins.md).\n\n");
    origin_docs(out);
}

static const struct {
    const char *name;
    void (*fn)(struct buf *out);
} tables[] = {
    {"conf", conf_print_file},      {"commands", print_commands},     {"stats", print_stats},
    {"errors", print_errors},       {"locks", docs_locking},          {"docs:commands", docs_commands},
    {"docs:config", docs_config},     {"docs:stats", docs_stats},     {"docs:errors", docs_errors},
    {"docs:locking", docs_locking},
};

bool print_table(const char *name) {
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        if (strcmp(name, tables[i].name) == 0) {
            struct buf out = {0};
            tables[i].fn(&out);
            fwrite(out.p, 1, out.n, stdout);
            buf_free(&out);
            return true;
        }
    }
    fprintf(stderr, "--print %s: no such table; allowed:", name);
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        fprintf(stderr, " %s", tables[i].name);
    }
    fputc('\n', stderr);
    return false;
}
