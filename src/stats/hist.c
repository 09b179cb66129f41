/* SPDX-License-Identifier: BSD-3-Clause */
/* hist: reading. */
#include "src/stats/hist.h"

#include <stddef.h>

const double hist_percents[HIST_PERCENTS] = {50, 90, 99, 99.9, 99.99};

uint64_t hist_edge(unsigned i) {
    if (i < HIST_SUBS) {
        return (uint64_t)(i + 1) << HIST_SHIFT;
    }
    if (i == HIST_BUCKETS - 1) {
        return UINT64_MAX;
    }
    return (uint64_t)(i % HIST_SUBS + HIST_SUBS + 1) << (i / HIST_SUBS - 1 + HIST_SHIFT);
}

uint64_t hist_total(const struct hist *h) {
    uint64_t n = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        n += STAT_GET(h->n[i]);
    }
    return n;
}

uint64_t hist_read(struct hist_sum *sum, const struct hist *h) {
    uint64_t before = sum->count;
    for (unsigned i = 0; h != NULL && i < HIST_BUCKETS; i++) {
        uint64_t n = STAT_GET(h->n[i]);
        sum->n[i] += n;
        sum->count += n;
    }
    return sum->count - before;
}

void hist_sum_add(struct hist_sum *sum, const struct hist_sum *more) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        sum->n[i] += more->n[i];
    }
    sum->count += more->count;
}

void hist_sum_take(struct hist_sum *sum, const struct hist_sum *less) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        uint64_t n = sum->n[i] < less->n[i] ? sum->n[i] : less->n[i];
        sum->n[i] -= n;
        sum->count -= n;
    }
}

uint64_t hist_quantile(const struct hist_sum *sum, double percent) {
    uint64_t upto = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        upto += sum->n[i];
        if (upto > 0 && (double)upto >= (double)sum->count * percent / 100) {
            return hist_edge(i);
        }
    }
    return 0;
}

void hist_reset(struct hist *h) {
    for (unsigned i = 0; i < HIST_BUCKETS; i++) {
        atomic_store_explicit(&h->n[i], 0, memory_order_relaxed);
    }
}
