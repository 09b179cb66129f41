/* SPDX-License-Identifier: BSD-3-Clause */
/* history: the main series over time in two rings of fixed size: each second of the last ten minutes, each tenth second of the
 * last four hours. About 0.8 MB, touched as it fills. No lock of its own. */
#pragma once

#include <stdint.h>

#include "src/stats/hist.h"

enum series_sum {
#define SERIES_SUM(name, doc) SUM_##name,
#include "src/stats/series.def"
    SERIES_SUMS
};
enum series_now {
#define SERIES_NOW(name, doc) NOW_##name,
#include "src/stats/series.def"
    SERIES_NOWS
};

enum { HEAT_BUCKETS = 24, HISTORY_FINE = 600, HISTORY_COARSE = 1440, HISTORY_COARSE_S = 10 };

struct moment {
    int64_t at_ms; /* wall clock */
    uint64_t sums[SERIES_SUMS], nows[SERIES_NOWS];
    uint32_t heat[HEAT_BUCKETS]; /* of the step's commands: bucket k ended within 2^k microseconds; the last is open */
};

struct history;

struct history *history_create(void);
void history_destroy(struct history **h);
/* Once a second. m: at_ms, sums, nows but the percentiles; latency: of all commands since start. */
void history_note(struct history *h, const struct moment *m, const struct hist_sum *latency);
/* Copies the newest max moments of a ring (coarse: ten seconds each), oldest first, sums turned into what came in each step;
 * returns how many. */
unsigned history_read(const struct history *h, int coarse, struct moment *out, unsigned max);
/* Names of the series, in the order of the enums. */
extern const char *const series_sum_names[SERIES_SUMS], *const series_now_names[SERIES_NOWS];
