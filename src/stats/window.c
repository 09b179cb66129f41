/* SPDX-License-Identifier: BSD-3-Clause */
/* window: two rings of sums. */
#include "src/stats/window.h"

#include <stddef.h>

enum { SECONDS = WINDOW_SECONDS + 1, MINUTES = WINDOW_MINUTES + 1 };

void window_note(struct window *w, struct hits sums) {
    w->second[w->noted % SECONDS] = sums;
    if (w->noted % 60 == 0) {
        w->minute[w->noted / 60 % MINUTES] = sums;
    }
    w->noted++;
}

static uint64_t since(uint64_t before, uint64_t now) {
    return now >= before ? now - before : now;
}

struct hits window_read(const struct window *w, enum window_span span) {
    if (w == NULL || w->noted < 2) {
        return (struct hits){0};
    }
    uint64_t last = w->noted - 1, back = span == WINDOW_1S ? 1 : WINDOW_SECONDS;
    back = back < last ? back : last;
    struct hits now = w->second[last % SECONDS], before = w->second[(last - back) % SECONDS];
    if (span == WINDOW_15M && last >= 60) {
        uint64_t minute = last / 60;
        before = w->minute[(minute > WINDOW_MINUTES ? minute - WINDOW_MINUTES : 0) % MINUTES];
    }
    return (struct hits){since(before.hits, now.hits), since(before.misses, now.misses)};
}

const char *window_name(enum window_span span) {
    static const char *const names[WINDOW_SPANS] = {"1s", "1m", "15m"};
    return names[span];
}

double hits_rate(struct hits h) {
    uint64_t all = h.hits + h.misses;
    return all > 0 ? (double)h.hits / (double)all : 0;
}
