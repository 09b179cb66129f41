/* SPDX-License-Identifier: BSD-3-Clause */
/* window: hits and misses of the last second, minute and quarter of an hour, from their sums noted once a second. About 1.2 kB.
 * No lock of its own. */
#pragma once

#include <stdint.h>

enum { WINDOW_SECONDS = 60, WINDOW_MINUTES = 15 };
enum window_span { WINDOW_1S, WINDOW_1M, WINDOW_15M, WINDOW_SPANS };

struct hits {
    uint64_t hits, misses;
};

/* Zeros: nothing noted yet. */
struct window {
    uint64_t noted; /* seconds so far */
    struct hits second[WINDOW_SECONDS + 1], minute[WINDOW_MINUTES + 1];
};

/* Once a second: the sums so far. */
void window_note(struct window *w, struct hits sums);
/* What came within the span before the last note; of what there is when that is shorter. The last quarter of an hour begins with a
 * whole minute. Sums that went back (CONFIG RESETSTAT) count from 0. w may be NULL. */
struct hits window_read(const struct window *w, enum window_span span);
/* "1s", "1m", "15m" */
const char *window_name(enum window_span span);
/* Hits of all, 0 to 1; 0 when there was nothing. */
double hits_rate(struct hits h);
