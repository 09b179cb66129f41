/* SPDX-License-Identifier: BSD-3-Clause */
/* deadline: see the header. */
#include "src/guard/deadline.h"

#include <math.h>

#include "src/base/mem.h"

enum {
    RING_SECONDS = 4096,     /* lifetimes longer than that are too far off to be a pile-up's */
    NEAR_SECONDS = 32,       /* a second is compared with so many on either side */
    PILE_LEAST = 64,         /* fewer ends in a second are no pile-up, */
    PILE_TIMES = 8,          /* nor is less than so many times the mean of those near */
    AUTO_SHARE_PPM = 100000, /* how much of a lifetime is used to spread one */
    COUNT_BITS = 32
};

/* A cell of the ring: which second it counts, modulo 2^32, and how many ends. */
static uint64_t cell_of(int64_t second, uint64_t count) {
    return (uint64_t)(uint32_t)second << COUNT_BITS | count;
}

static uint64_t cell_count(uint64_t cell, int64_t second) {
    return cell >> COUNT_BITS == (uint32_t)second ? (uint32_t)cell : 0;
}

static _Atomic uint64_t *ring_of(struct rule_stats *s) {
    _Atomic uint64_t *ring = atomic_load_explicit(&s->ends, memory_order_acquire), *made;
    if (ring != NULL) {
        return ring;
    }
    made = mem_zalloc(RING_SECONDS * sizeof(*made));
    if (atomic_compare_exchange_strong_explicit(&s->ends, &ring, made, memory_order_acq_rel, memory_order_acquire)) {
        return made;
    }
    mem_free((void *)made);
    return ring;
}

static uint64_t ends_at(_Atomic uint64_t *ring, int64_t second) {
    return cell_count(atomic_load_explicit(&ring[(uint64_t)second % RING_SECONDS], memory_order_relaxed), second);
}

/* Counts one more end in that second; returns how many it has now. */
static uint64_t count_end(_Atomic uint64_t *ring, int64_t second) {
    _Atomic uint64_t *cell = &ring[(uint64_t)second % RING_SECONDS];
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed), count;
    do {
        count = cell_count(old, second) + 1;
    } while (!atomic_compare_exchange_weak_explicit(cell, &old, cell_of(second, count), memory_order_relaxed, memory_order_relaxed));
    return count;
}

/* Whether the second has become a pile-up. */
static bool piles_up(_Atomic uint64_t *ring, int64_t second, uint64_t count) {
    uint64_t others = 0;
    if (count < PILE_LEAST) {
        return false;
    }
    for (int64_t i = 1; i <= NEAR_SECONDS; i++) {
        others += ends_at(ring, second - i) + ends_at(ring, second + i);
    }
    return count * 2 * NEAR_SECONDS > PILE_TIMES * others;
}

static int64_t earlier(int64_t expire_ms, int64_t now_ms, int64_t ppm, uint64_t random) {
    double share = (double)ppm / 1e6 * ((double)(random >> 11) / 9007199254740992.0);
    return expire_ms - (int64_t)((double)(expire_ms - now_ms) * share);
}

int64_t deadline_jittered(const struct rule *rule, int64_t expire_ms, int64_t now_ms, uint64_t random) {
    int64_t ppm = rule->opt.jitter_ppm;
    if (ppm >= 0) {
        return ppm == 0 ? expire_ms : earlier(expire_ms, now_ms, ppm, random);
    }
    if (expire_ms - now_ms >= (RING_SECONDS - 2 * NEAR_SECONDS) * (int64_t)1000) {
        return expire_ms;
    }
    _Atomic uint64_t *ring = ring_of(rule->stats);
    int64_t second = expire_ms / 1000;
    if (!piles_up(ring, second, ends_at(ring, second) + 1)) {
        count_end(ring, second);
        return expire_ms;
    }
    int64_t spread = earlier(expire_ms, now_ms, AUTO_SHARE_PPM, random);
    count_end(ring, spread / 1000);
    return spread;
}

bool deadline_is_early(int64_t left_ms, uint32_t load_ms, uint64_t random) {
    double u = ((double)(random >> 11) + 1) / 9007199254740992.0; /* (0, 1] */
    return load_ms != 0 && -log(u) * (double)load_ms >= (double)left_ms;
}
