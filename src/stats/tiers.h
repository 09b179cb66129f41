/* SPDX-License-Identifier: BSD-3-Clause */
/* tiers: what is counted of each tier, by the rows of tiers.def: live, per event loop, and added up for a reader. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "src/stats/hist.h"
#include "src/stats/stat.h"

enum stat_tier {
#define TIER(id, name, doc) STAT_##id,
#include "src/stats/tiers.def"
    STAT_TIERS
};
enum stat_eviction {
#define EVICTION(field, in, doc) EVICTION_##field,
#include "src/stats/tiers.def"
    EVICTION_REASONS
};
enum stat_reject {
#define REJECT(field, in, doc) REJECT_##field,
#include "src/stats/tiers.def"
    REJECT_REASONS
};

/* One event loop's counts of one tier; STAT_ADD by that loop's thread. A tier with threads of its own counts for itself and says
 * so by its source's `numbers`. */
struct tier_stats {
#define TIER_COUNTER(field, doc) stat_t field;
#include "src/stats/tiers.def"
    stat_t evictions[EVICTION_REASONS], rejects[REJECT_REASONS];
    struct hist latency; /* ticks: of read commands that asked this tier last, the wait for it included */
};

/* The same of all loops and threads. */
struct tier_numbers {
    bool on;
#define TIER_COUNTER(field, doc) uint64_t field;
#define TIER_GAUGE(field, doc) uint64_t field;
#include "src/stats/tiers.def"
    uint64_t evictions[EVICTION_REASONS], rejects[REJECT_REASONS];
    struct hist_sum latency;
};

/* The rows, for printing. */
struct tier_row {
    const char *name, *doc;
    uint32_t offset; /* of the uint64_t within struct tier_numbers; 0 where that has no meaning */
    uint32_t in;     /* a bit of each tier where it can be anything but 0 */
};
extern const struct tier_row tier_names[STAT_TIERS], tier_counters[], tier_gauges[], eviction_reasons[EVICTION_REASONS],
    reject_reasons[REJECT_REASONS];
extern const unsigned tier_counter_count, tier_gauge_count;

static inline bool tier_has(enum stat_tier t, const struct tier_row *row) {
    return row->in >> t & 1;
}
/* How many of the rows the tier has. */
unsigned tier_count_rows(enum stat_tier t, const struct tier_row *rows, unsigned n);

static inline uint64_t tier_number(const struct tier_numbers *n, const struct tier_row *row) {
    return *(const uint64_t *)((const char *)n + row->offset);
}
/* Adds one loop's counts. Any thread. */
void tier_numbers_add(struct tier_numbers *n, const struct tier_stats *s);
void tier_stats_reset(struct tier_stats *s);
