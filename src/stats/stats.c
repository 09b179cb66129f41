/* SPDX-License-Identifier: BSD-3-Clause */
/* stats: counters per loop, summed by readers. */
#include "src/stats/stats.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

/* Counters that say how much there is rather than how often something happened survive CONFIG RESETSTAT: none so far. */
struct stats *stats_create(unsigned command_count) {
    struct stats *s = mem_zalloc(sizeof(*s));
    s->command_count = command_count;
    s->commands = mem_zalloc(command_count * sizeof(*s->commands));
    return s;
}

void stats_destroy(struct stats **sp) {
    struct stats *s = *sp;
    *sp = NULL;
    mem_free(s->commands);
    mem_free(s);
}

uint64_t stat_percentile(const uint64_t hist[STAT_HIST_BUCKETS], double percent) {
    uint64_t calls = 0, sum = 0;
    for (int k = 0; k < STAT_HIST_BUCKETS; k++) {
        calls += hist[k];
    }
    for (int k = 0; k < STAT_HIST_BUCKETS; k++) {
        sum += hist[k];
        if (sum > 0 && (double)sum >= (double)calls * percent / 100) {
            return (uint64_t)1 << (k + STAT_HIST_SHIFT + 1);
        }
    }
    return 0;
}

uint64_t stats_sum(struct stats *const *all, unsigned n, size_t offset) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        sum += STAT_GET(*(stat_t *)((char *)all[i] + offset));
    }
    return sum;
}

void stats_reset(struct stats *const *all, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct stats *s = all[i];
        stat_t *const fields[] = {
#define COUNTER(field, section, info_name, doc) &s->field,
#include "src/stats/counters.def"
#undef COUNTER
        };
        for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
            atomic_store_explicit(fields[k], 0, memory_order_relaxed);
        }
        for (unsigned c = 0; c < s->command_count; c++) {
            stat_t *at = (stat_t *)&s->commands[c];
            for (size_t k = 0; k < sizeof(struct cmd_stats) / sizeof(stat_t); k++) {
                atomic_store_explicit(&at[k], 0, memory_order_relaxed);
            }
        }
    }
}
