/* SPDX-License-Identifier: BSD-3-Clause */
/* growth: lows of minutes. */
#include "src/sight/growth.h"

#include <string.h>

static void push(struct growth *g, int64_t low) {
    if (g->n == GROWTH_WINDOWS + 1) {
        memmove(g->lows, g->lows + 1, GROWTH_WINDOWS * sizeof(*g->lows));
        g->n--;
    }
    g->lows[g->n++] = low;
}

int64_t growth_add(struct growth *g, int64_t now_ms, int64_t value, int64_t step) {
    int64_t age = now_ms - g->start_ms;
    if (g->begun && (age < 0 || age >= 2 * GROWTH_WINDOW_MS)) { /* nobody looked for a while: what was before says nothing */
        *g = (struct growth){0};
    } else if (g->begun && age >= GROWTH_WINDOW_MS) {
        push(g, g->low);
        g->begun = false;
    }
    if (!g->begun) {
        g->begun = true;
        g->start_ms = now_ms;
        g->low = value;
    }
    g->low = value < g->low ? value : g->low;
    if (g->n < GROWTH_WINDOWS + 1) {
        return 0;
    }
    for (unsigned i = 0; i < GROWTH_WINDOWS; i++) {
        if (g->lows[i + 1] < g->lows[i] + step) {
            return 0;
        }
    }
    return g->lows[GROWTH_WINDOWS] - g->lows[0];
}
