/* SPDX-License-Identifier: BSD-3-Clause */
/* deadline: see the header. */
#include "src/guard/deadline.h"

#include <math.h>

#include "src/base/mem.h"

enum {
    RING_SECONDS = 4096,     /* seconds so far apart share a cell: the one last heard of has it, but a pile-up keeps its own */
    NEAR_SECONDS = 32,       /* a second is compared with so many on either side */
    PILE_LEAST = 64,         /* fewer ends in a second are no pile-up, */
    PILE_TIMES = 8,          /* nor is less than so many times the mean of those near */
    AUTO_SHARE_PPM = 100000, /* how much of a lifetime is used to spread one */
    COUNT_BITS = 32
};

/* A cell of the ring: which second it counts, modulo 2^32; whether that has become a pile-up, and how many ends. */
static const uint64_t PILED = (uint64_t)1 << (COUNT_BITS - 1);

static uint64_t cell_of(int64_t second, uint64_t bits) {
    return (uint64_t)(uint32_t)second << COUNT_BITS | bits;
}

/* Its count and flag; 0 when it counts another second. */
static uint64_t cell_bits(uint64_t cell, int64_t second) {
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

static uint64_t bits_at(_Atomic uint64_t *ring, int64_t second) {
    return cell_bits(atomic_load_explicit(&ring[(uint64_t)second % RING_SECONDS], memory_order_relaxed), second);
}

static uint64_t ends_at(_Atomic uint64_t *ring, int64_t second) {
    return bits_at(ring, second) & ~PILED;
}

/* Another second's, a pile-up, and still to come. */
static bool is_taken(uint64_t cell, int64_t second, int64_t now_s) {
    uint32_t its = (uint32_t)(cell >> COUNT_BITS);
    return (cell & PILED) != 0 && its != (uint32_t)second && (int32_t)(its - (uint32_t)now_s) >= 0;
}

/* Counts so many more ends in that second, and flags it. */
static void count_ends(_Atomic uint64_t *ring, int64_t second, int64_t now_s, uint64_t ends, uint64_t flag) {
    _Atomic uint64_t *cell = &ring[(uint64_t)second % RING_SECONDS];
    uint64_t old = atomic_load_explicit(cell, memory_order_relaxed), bits;
    do {
        if (is_taken(old, second, now_s)) {
            return;
        }
        bits = (cell_bits(old, second) + ends) | flag;
    } while (!atomic_compare_exchange_weak_explicit(cell, &old, cell_of(second, bits), memory_order_relaxed, memory_order_relaxed));
}

/* Whether the second is a pile-up with one end more. Once it is it stays one: what is spread from it fills the seconds it is
 * compared with. */
static bool piles_up(_Atomic uint64_t *ring, int64_t second, int64_t now_s) {
    uint64_t bits = bits_at(ring, second), count = bits + 1, others = 0;
    if ((bits & PILED) != 0 || count < PILE_LEAST) {
        return (bits & PILED) != 0;
    }
    for (int64_t i = 1; i <= NEAR_SECONDS; i++) {
        others += ends_at(ring, second - i) + ends_at(ring, second + i);
    }
    if (count * 2 * NEAR_SECONDS <= PILE_TIMES * others) {
        return false;
    }
    count_ends(ring, second, now_s, 0, PILED);
    return true;
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
    _Atomic uint64_t *ring = ring_of(rule->stats);
    int64_t now_s = now_ms / 1000;
    if (piles_up(ring, expire_ms / 1000, now_s)) {
        expire_ms = earlier(expire_ms, now_ms, AUTO_SHARE_PPM, random);
    }
    count_ends(ring, expire_ms / 1000, now_s, 1, 0);
    return expire_ms;
}

bool deadline_is_early(int64_t left_ms, uint32_t load_ms, uint64_t random) {
    double u = ((double)(random >> 11) + 1) / 9007199254740992.0; /* (0, 1] */
    return load_ms != 0 && -log(u) * (double)load_ms >= (double)left_ms;
}
