/* SPDX-License-Identifier: BSD-3-Clause */
/* tiers: the rows as tables, and adding up. */
#include "src/stats/tiers.h"

#include <stddef.h>

#define IN(tier) (1u << STAT_##tier)
#define EVERYWHERE ((1u << STAT_TIERS) - 1)

const struct tier_row tier_names[STAT_TIERS] = {
#define TIER(id, name, doc) {name, doc, 0, 0},
#include "src/stats/tiers.def"
};
const struct tier_row tier_counters[] = {
#define TIER_COUNTER(field, doc) {#field, doc, offsetof(struct tier_numbers, field), EVERYWHERE},
#include "src/stats/tiers.def"
};
const struct tier_row tier_gauges[] = {
#define TIER_GAUGE(field, doc) {#field, doc, offsetof(struct tier_numbers, field), EVERYWHERE},
#include "src/stats/tiers.def"
};
const struct tier_row eviction_reasons[EVICTION_REASONS] = {
#define EVICTION(field, in, doc) {#field, doc, offsetof(struct tier_numbers, evictions[EVICTION_##field]), in},
#include "src/stats/tiers.def"
};
const struct tier_row reject_reasons[REJECT_REASONS] = {
#define REJECT(field, in, doc) {#field, doc, offsetof(struct tier_numbers, rejects[REJECT_##field]), in},
#include "src/stats/tiers.def"
};
const unsigned tier_counter_count = sizeof(tier_counters) / sizeof(tier_counters[0]);
const unsigned tier_gauge_count = sizeof(tier_gauges) / sizeof(tier_gauges[0]);

unsigned tier_count_rows(enum stat_tier t, const struct tier_row *rows, unsigned n) {
    unsigned count = 0;
    for (unsigned i = 0; i < n; i++) {
        count += tier_has(t, &rows[i]);
    }
    return count;
}

void tier_numbers_add(struct tier_numbers *n, const struct tier_stats *s) {
#define TIER_COUNTER(field, doc) n->field += STAT_GET(s->field);
#include "src/stats/tiers.def"
    for (unsigned i = 0; i < EVICTION_REASONS; i++) {
        n->evictions[i] += STAT_GET(s->evictions[i]);
    }
    for (unsigned i = 0; i < REJECT_REASONS; i++) {
        n->rejects[i] += STAT_GET(s->rejects[i]);
    }
    hist_read(&n->latency, &s->latency);
}

void tier_stats_reset(struct tier_stats *s) {
    stat_t *at = (stat_t *)s;
    for (size_t i = 0; i < sizeof(*s) / sizeof(*at); i++) {
        atomic_store_explicit(&at[i], 0, memory_order_relaxed);
    }
}
