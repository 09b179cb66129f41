/* SPDX-License-Identifier: BSD-3-Clause */
/* admit: the rules, budgets and the guard. */
#include "persist/admit.h"

#include <string.h>

#include "src/base/mem.h"
#include "src/base/rng.h"

enum { WINDOW_MS = 5000, GUARD_MS = 10000, UNDONE_SECONDS = 5, WINDOW_MIN = 1000, DAY_S = 86400 };

void admit_init(struct admission *a) {
    memset(a, 0, sizeof(*a));
    a->recent = mem_zalloc(ADMIT_RECENT * sizeof(*a->recent));
    a->seen = mem_zalloc(ADMIT_SEEN * sizeof(*a->seen)); /* pages nobody touches while there is room */
}

void admit_fini(struct admission *a) {
    mem_free((void *)(uintptr_t)a->recent);
    mem_free((void *)(uintptr_t)a->seen);
}

void admit_tune(struct admission *a, const struct admit_limits *l) {
    atomic_store(&a->rule, (int)l->rule);
    atomic_store(&a->random_ppm, l->random_ppm);
    atomic_store(&a->max_value_bytes, l->max_value_bytes);
    atomic_store(&a->min_ttl_ms, l->min_ttl_ms);
    atomic_store(&a->second_bytes, l->second_bytes);
    atomic_store(&a->day_bytes, l->day_bytes);
    atomic_store(&a->guard, l->guard);
}

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define PUT(field, v) atomic_store_explicit(&(field), (v), memory_order_relaxed)

/* Whether the key was here before; now it has been. */
static bool was_seen(struct admission *a, uint64_t hash) {
    _Atomic uint16_t *at = &a->seen[hash >> 20 & (ADMIT_SEEN - 1)];
    uint16_t print = (uint16_t)(hash >> 44 | 1);
    bool seen = GET(*at) == print;
    PUT(*at, print);
    return seen;
}

static bool passes_rule(struct admission *a, uint64_t hash) {
    switch (GET(a->rule)) {
    case ADMIT_SECOND:
        return was_seen(a, hash);
    case ADMIT_RANDOM:
        return rng_below(1000000) < GET(a->random_ppm);
    default:
        return true;
    }
}

/* Takes bytes from a budget that begins anew with each period. */
static bool takes(_Atomic int64_t *period, _Atomic int64_t *used, int64_t limit, int64_t now, int64_t bytes) {
    if (limit == 0) {
        return true;
    }
    if (atomic_exchange_explicit(period, now, memory_order_relaxed) != now) {
        PUT(*used, 0);
    }
    if (GET(*used) + bytes > limit) {
        return false;
    }
    atomic_fetch_add_explicit(used, bytes, memory_order_relaxed);
    return true;
}

/* ---- the guard ---- */

/* Fingerprint, second, and whether the value was wanted back since. */
static uint32_t recent_mark(uint64_t hash, int64_t now_ms) {
    return (uint32_t)(hash >> 44 << 16) | (uint32_t)(now_ms / 1000 & 0x7fff) << 1;
}

static _Atomic uint32_t *recent_of(struct admission *a, uint64_t hash) {
    return &a->recent[hash >> 24 & (ADMIT_RECENT - 1)];
}

/* Whether mark is the same key's, of the last seconds. */
static bool is_recent(uint32_t mark, uint32_t now) {
    return mark >> 16 == now >> 16 && (((now >> 1) - (mark >> 1)) & 0x7fff) < UNDONE_SECONDS;
}

static void judge_window(struct admission *a, int64_t now_ms) {
    int64_t start = GET(a->window_start_ms);
    if (now_ms - start < WINDOW_MS ||
        !atomic_compare_exchange_strong_explicit(&a->window_start_ms, &start, now_ms, memory_order_relaxed,
                                                 memory_order_relaxed)) {
        return;
    }
    uint32_t down = atomic_exchange_explicit(&a->window_down, 0, memory_order_relaxed);
    uint32_t undone = atomic_exchange_explicit(&a->window_undone, 0, memory_order_relaxed);
    if (GET(a->guard) && down >= WINDOW_MIN && undone > down / 2) {
        PUT(a->guard_until_ms, now_ms + GUARD_MS);
        atomic_fetch_add_explicit(&a->guarded_windows, 1, memory_order_relaxed);
    }
}

/* A value goes down. That it did so seconds ago, came back and has changed since was a write for nothing. */
static void note_down(struct admission *a, uint64_t hash, int64_t now_ms) {
    _Atomic uint32_t *at = recent_of(a, hash);
    uint32_t mark = GET(*at), now = recent_mark(hash, now_ms);
    judge_window(a, now_ms);
    atomic_fetch_add_explicit(&a->window_down, 1, memory_order_relaxed);
    if (is_recent(mark, now) && (mark & 1)) {
        atomic_fetch_add_explicit(&a->window_undone, 1, memory_order_relaxed);
    }
    PUT(*at, now);
}

void admit_wanted(struct admission *a, uint64_t hash, int64_t now_ms) {
    _Atomic uint32_t *at = recent_of(a, hash);
    uint32_t mark = GET(*at);
    if (is_recent(mark, recent_mark(hash, now_ms))) {
        PUT(*at, mark | 1);
    }
}

bool admit_is_guarding(const struct admission *a, int64_t now_ms) {
    return GET(a->guard_until_ms) > now_ms;
}

/* ---- the verdict ---- */

static enum admit_verdict judge(struct admission *a, uint64_t hash, size_t bytes, int64_t ttl_ms, int64_t now_ms) {
    if (bytes > GET(a->max_value_bytes)) {
        return REFUSED_SIZE;
    }
    if (ttl_ms != -1 && ttl_ms < GET(a->min_ttl_ms)) {
        return REFUSED_TTL;
    }
    if (admit_is_guarding(a, now_ms)) {
        return REFUSED_THRASH;
    }
    if (GET(a->full) && !passes_rule(a, hash)) {
        return REFUSED_RULE;
    }
    if (!takes(&a->second, &a->second_used, GET(a->second_bytes), now_ms / 1000, (int64_t)bytes) ||
        !takes(&a->day, &a->day_used, GET(a->day_bytes), now_ms / 1000 / DAY_S, (int64_t)bytes)) {
        return REFUSED_BUDGET;
    }
    note_down(a, hash, now_ms);
    return ADMITTED;
}

enum admit_verdict admit_value(struct admission *a, uint64_t hash, size_t bytes, int64_t ttl_ms, int64_t now_ms) {
    enum admit_verdict v = judge(a, hash, bytes, ttl_ms, now_ms);
    atomic_fetch_add_explicit(&a->verdicts[v], 1, memory_order_relaxed);
    return v;
}
