/* SPDX-License-Identifier: BSD-3-Clause */
/* stats: one table of counters (counters.def) becomes a struct per loop, INFO lines, docs and, later, Prometheus. The
 * owner writes with plain relaxed stores, readers sum over loops. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef _Atomic uint64_t stat_t;

enum { STAT_HIST_BUCKETS = 32, STAT_HIST_SHIFT = 6 };

/* Per command: indexed by cmd id. hist[i] counts calls that took 2^(i+STAT_HIST_SHIFT) to twice that many ticks
 * (base/clock): LATENCY HISTOGRAM. The first and last bucket are open-ended. */
struct cmd_stats {
    stat_t calls, ticks, rejected, failed;
    stat_t hist[STAT_HIST_BUCKETS];
};

struct stats {
#define COUNTER(field, section, info_name, doc) stat_t field;
#include "src/stats/counters.def"
#undef COUNTER
    unsigned command_count;
    struct cmd_stats *commands;
};

/* The ticks within which so many percent of the calls counted in hist ended: the upper edge of their bucket. 0 without calls. */
uint64_t stat_percentile(const uint64_t hist[STAT_HIST_BUCKETS], double percent);

/* Owner only: no lock prefix, one add to memory. */
#define STAT_ADD(s, n)                                                                             \
    atomic_store_explicit(&(s), atomic_load_explicit(&(s), memory_order_relaxed) + (uint64_t)(n),  \
                          memory_order_relaxed)
#define STAT_GET(s) atomic_load_explicit(&(s), memory_order_relaxed)

/* Cache-line aligned; command_count sizes the array. */
struct stats *stats_create(unsigned command_count);
void stats_destroy(struct stats **s);
/* The sum over loops of the counter at this offset of struct stats. Any thread. */
uint64_t stats_sum(struct stats *const *all, unsigned n, size_t offset);
#define STATS_SUM(all, n, field) stats_sum((all), (n), offsetof(struct stats, field))
/* CONFIG RESETSTAT: remembers the present values as the new zero where the row says so. */
void stats_reset(struct stats *const *all, unsigned n);
