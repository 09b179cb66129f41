/* SPDX-License-Identifier: BSD-3-Clause */
/* hist: how often something took how long, log-linear: eight buckets for each doubling, so that a bucket's edges differ by an
 * eighth at most. Written with one index computation and one add; any thread may read while it is written. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "src/stats/stat.h"

enum { HIST_SHIFT = 3, HIST_SUBS = 8, HIST_BUCKETS = 472 }; /* any number has its bucket */

/* Spans in ticks (base/clock) or whatever the owner measures in. */
struct hist {
    stat_t n[HIST_BUCKETS];
};

/* Histograms added up: plain numbers, the reader's own. */
struct hist_sum {
    uint64_t n[HIST_BUCKETS];
    uint64_t count;
};

static inline unsigned hist_bucket(uint64_t ticks) {
    uint64_t v = ticks >> HIST_SHIFT;
    unsigned octave = (63 ^ (unsigned)__builtin_clzll(v | HIST_SUBS)) - 3; /* 63 ^: the machine's own instruction */
    return octave * HIST_SUBS + (unsigned)(v >> octave);
}

/* The first value above bucket i; of the last bucket, its last. */
uint64_t hist_edge(unsigned i);

/* Owner only. */
static inline void hist_add(struct hist *h, uint64_t ticks) {
    STAT_ADD(h->n[hist_bucket(ticks)], 1);
}
/* Any thread. */
static inline void hist_count(struct hist *h, uint64_t ticks) {
    STAT_COUNT(h->n[hist_bucket(ticks)], 1);
}

/* How many were counted. Any thread. */
uint64_t hist_total(const struct hist *h);
/* Adds h to the sum; h may be NULL. How many it added. */
uint64_t hist_read(struct hist_sum *sum, const struct hist *h);
/* Adds and takes away: buckets do not go below 0 where two were read at different moments. */
void hist_sum_add(struct hist_sum *sum, const struct hist_sum *more);
void hist_sum_take(struct hist_sum *sum, const struct hist_sum *less);
/* What so many percent were within: the upper edge of their bucket, at most an eighth too much. 0 when nothing was counted. */
uint64_t hist_quantile(const struct hist_sum *sum, double percent);
void hist_reset(struct hist *h);

/* The percents whose quantiles INFO, CACHE STATS and the JSON name. */
enum { HIST_PERCENTS = 5 };
extern const double hist_percents[HIST_PERCENTS];
