/* SPDX-License-Identifier: BSD-3-Clause */
/* growth: whether something that should stay level grows steadily: its lowest value of each minute, over the last ten. A cache that
 * fills or breathes has some minute that is not above the one before; a leak has none. One owner; time is passed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { GROWTH_WINDOWS = 10, GROWTH_WINDOW_MS = 60000 };

struct growth {
    int64_t lows[GROWTH_WINDOWS + 1]; /* of whole minutes, the newest last */
    unsigned n;
    int64_t start_ms, low;            /* of the minute under way */
    bool begun;
};

/* step: what a minute must have grown by to count. Returns by how much it has grown in ten minutes, each of which counted, else 0. */
int64_t growth_add(struct growth *g, int64_t now_ms, int64_t value, int64_t step);
