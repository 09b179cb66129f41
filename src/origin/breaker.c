/* SPDX-License-Identifier: BSD-3-Clause */
/* breaker: counts failures among the last outcomes; open, it lets one trial through now and then. */
#include "src/origin/breaker.h"

#include <string.h>

#include "src/base/mem.h"

void breaker_init(struct breaker *b, uint32_t window, int64_t share_ppm, int64_t open_ms) {
    *b = (struct breaker){.window = window, .open_ms = open_ms, .bad = mem_zalloc(window)};
    b->limit = (uint32_t)((window * share_ppm + 999999) / 1000000);
}

void breaker_fini(struct breaker *b) {
    mem_free(b->bad);
    b->bad = NULL;
}

enum breaker_state breaker_state_at(const struct breaker *b, int64_t now_ms) {
    return b->state == BREAKER_OPEN && now_ms >= b->until_ms ? BREAKER_HALF_OPEN : b->state;
}

bool breaker_refuses(const struct breaker *b, int64_t now_ms) {
    enum breaker_state s = breaker_state_at(b, now_ms);
    return s == BREAKER_OPEN || (s == BREAKER_HALF_OPEN && b->trial);
}

static void become(struct breaker *b, enum breaker_state s) {
    b->state = s;
    b->trial = false;
    b->era++;
}

bool breaker_admit(struct breaker *b, int64_t now_ms, uint32_t *era) {
    if (breaker_refuses(b, now_ms)) {
        return false;
    }
    if (b->state == BREAKER_OPEN) {
        become(b, BREAKER_HALF_OPEN);
    }
    b->trial = b->state == BREAKER_HALF_OPEN;
    *era = b->era;
    return true;
}

static void remember(struct breaker *b, bool bad) {
    b->failures += bad;
    b->failures -= b->bad[b->next];
    b->bad[b->next] = bad;
    b->next = b->next + 1 == b->window ? 0 : b->next + 1;
}

static void forget(struct breaker *b) {
    memset(b->bad, 0, b->window);
    b->failures = b->next = 0;
}

bool breaker_report(struct breaker *b, uint32_t era, enum breaker_outcome outcome, int64_t now_ms) {
    if (era != b->era) {
        return false;
    }
    if (outcome == OUTCOME_NONE) {
        b->trial = false;
        return false;
    }
    bool bad = outcome == OUTCOME_BAD;
    if (b->state == BREAKER_HALF_OPEN && !bad) {
        forget(b);
        become(b, BREAKER_CLOSED);
        return false;
    }
    if (b->state == BREAKER_CLOSED) {
        remember(b, bad);
        if (b->limit == 0 || b->failures < b->limit) {
            return false;
        }
    }
    become(b, BREAKER_OPEN);
    b->until_ms = now_ms + b->open_ms;
    return true;
}

const char *breaker_state_name(enum breaker_state s) {
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[s];
}
