/* SPDX-License-Identifier: BSD-3-Clause */
/* stats: one table of counters (counters.def) becomes a struct per loop, INFO lines, docs, Prometheus and JSON. The
 * owner writes with plain relaxed stores, readers sum over loops. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/stats/conns.h"
#include "src/stats/hist.h"
#include "src/stats/stat.h"
#include "src/stats/tiers.h"

/* What is counted beside, of commands that are called. */
struct cmd_more {
    struct hist latency;    /* ticks, waiting included */
    stat_t stale, negative; /* of its look-ups: found past their lifetime; known to be absent */
};

/* Per command: indexed by cmd id. A cache line. */
struct cmd_stats {
    stat_t ticks, rejected, failed;
    stat_t hits, misses;           /* look-ups of its keys, by commands that read */
    _Atomic(struct cmd_more *) more; /* NULL until the first call */
    stat_t spare[2];
};

struct stats {
#define COUNTER(field, section, info_name, doc) stat_t field;
#include "src/stats/counters.def"
    struct tier_stats tiers[STAT_TIERS];
    struct tier_stats forwarded; /* L3's share of single reads: hits and misses, which no command here counts (far.c counts what they took) */
    struct conns links;          /* with peers, those that this loop has opened */
    unsigned command_count;
    struct cmd_stats *commands;
};

/* Cache-line aligned; command_count sizes the array. */
struct stats *stats_create(unsigned command_count);
void stats_destroy(struct stats **s);
struct cmd_more *stats_make_more(struct cmd_stats *s);
/* Made when there is none. Owner only. */
static inline struct cmd_more *stats_more(struct cmd_stats *s) {
    struct cmd_more *more = atomic_load_explicit(&s->more, memory_order_relaxed);
    return __builtin_expect(more != NULL, 1) ? more : stats_make_more(s);
}
/* A call of the command with that number has taken so many ticks. Owner only. */
static inline void stats_count_call(struct stats *s, unsigned command, uint64_t ticks) {
    struct cmd_stats *cs = &s->commands[command];
    STAT_ADD(cs->ticks, ticks); /* how many there were, the histogram says */
    hist_add(&stats_more(cs)->latency, ticks);
}
/* It has found a key, or has not. Owner only. */
static inline void stats_count_read(struct stats *s, unsigned command, bool found) {
    struct cmd_stats *cs = &s->commands[command];
    STAT_ADD(*(found ? &cs->hits : &cs->misses), 1);
}
/* The sum over loops of the counter at this offset of struct stats. Any thread. */
uint64_t stats_sum(struct stats *const *all, unsigned n, size_t offset);
#define STATS_SUM(all, n, field) stats_sum((all), (n), offsetof(struct stats, field))
/* What one loop has counted of a command. Any thread. */
uint64_t cmd_stats_calls(const struct cmd_stats *s);
uint64_t cmd_stats_hits(const struct cmd_stats *s);
uint64_t cmd_stats_misses(const struct cmd_stats *s);
/* The sum over loops and commands of one of these. Any thread. */
uint64_t stats_sum_commands(struct stats *const *all, unsigned n, uint64_t (*counted)(const struct cmd_stats *));
#define STATS_SUM_COMMANDS(all, n, field) stats_sum_commands((all), (n), cmd_stats_##field)
/* One command over all loops, for a reader. latency may be NULL. Any thread. */
struct cmd_numbers {
    uint64_t calls, ticks, rejected, failed, hits, misses, stale, negative;
};
void stats_read_command(struct stats *const *all, unsigned n, unsigned id, struct cmd_numbers *out, struct hist_sum *latency);
/* CONFIG RESETSTAT. */
void stats_reset(struct stats *const *all, unsigned n);
