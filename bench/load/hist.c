/* SPDX-License-Identifier: BSD-3-Clause */
/* hist: a log-linear histogram of nanoseconds. */
#include "bench/load/hist.h"

#include <math.h>

/* The first 2 * HIST_STEPS slots are exact; from there on each power of two has HIST_STEPS slots. */
static unsigned slot_of(uint64_t ns) {
    if (ns < HIST_STEPS) {
        return (unsigned)ns;
    }
    unsigned shift = 63 - (unsigned)__builtin_clzll(ns) - HIST_STEP_BITS;
    return shift * HIST_STEPS + (unsigned)(ns >> shift);
}

static uint64_t slot_upper(unsigned slot) {
    if (slot < 2 * HIST_STEPS) {
        return slot;
    }
    unsigned shift = slot / HIST_STEPS - 1;
    uint64_t lower = (uint64_t)(slot - shift * HIST_STEPS) << shift;
    return lower + ((uint64_t)1 << shift) - 1;
}

void hist_add(struct hist *h, uint64_t ns, uint64_t times) {
    h->n += times;
    h->slots[slot_of(ns)] += times;
    if (times > 0 && ns > h->max) {
        h->max = ns;
    }
}

void hist_merge(struct hist *into, const struct hist *from) {
    into->n += from->n;
    if (from->max > into->max) {
        into->max = from->max;
    }
    for (unsigned i = 0; i < HIST_SLOTS; i++) {
        into->slots[i] += from->slots[i];
    }
}

uint64_t hist_percentile(const struct hist *h, double percent) {
    uint64_t want = (uint64_t)ceil((double)h->n * percent / 100.0);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HIST_SLOTS && h->n > 0; i++) {
        seen += h->slots[i];
        if (h->slots[i] > 0 && seen >= want) {
            uint64_t upper = slot_upper(i);
            return upper < h->max ? upper : h->max;
        }
    }
    return h->max;
}
