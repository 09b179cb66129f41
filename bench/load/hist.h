/* SPDX-License-Identifier: BSD-3-Clause */
/* hist: a log-linear histogram of nanoseconds, 64 steps per power of two (1.6% wide). One thread. */
#pragma once

#include <stdint.h>

enum { HIST_STEP_BITS = 6, HIST_STEPS = 1 << HIST_STEP_BITS, HIST_SLOTS = HIST_STEPS * (64 - HIST_STEP_BITS + 1) };

struct hist {
    uint64_t n;
    uint64_t max; /* exact, in nanoseconds */
    uint64_t slots[HIST_SLOTS];
};

/* Adds times observations of ns nanoseconds. */
void hist_add(struct hist *h, uint64_t ns, uint64_t times);
void hist_merge(struct hist *into, const struct hist *from);
/* Nanoseconds that percent of the observations do not exceed: the upper edge of their slot, never
 * above the maximum. 0 when nothing was observed. */
uint64_t hist_percentile(const struct hist *h, double percent);
