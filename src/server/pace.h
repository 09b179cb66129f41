/* SPDX-License-Identifier: BSD-3-Clause */
/* pace: so many a second, evenly; after a pause no more than a tenth of a second's at once. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct pace {
    int64_t rate;   /* a second; 0: as many as asked for */
    int64_t due_ns; /* of the next, monotonic */
};

static inline void pace_start(struct pace *p, int64_t rate, int64_t now_us) {
    *p = (struct pace){.rate = rate, .due_ns = now_us * 1000};
}

/* Whether one more may go now. */
static inline bool pace_allows(const struct pace *p, int64_t now_us) {
    return p->rate == 0 || p->due_ns <= now_us * 1000;
}

/* So many have gone. */
static inline void pace_spend(struct pace *p, int64_t n, int64_t now_us) {
    enum { BURST_NS = 100000000, SECOND_NS = 1000000000 };
    if (p->rate > 0) {
        int64_t oldest = now_us * 1000 - BURST_NS;
        p->due_ns = (p->due_ns < oldest ? oldest : p->due_ns) + n * SECOND_NS / p->rate;
    }
}
