/* SPDX-License-Identifier: BSD-3-Clause */
/* rng: splitmix64 per thread. */
#include "src/base/rng.h"

#include <sys/random.h>

#include "src/base/check.h"

static _Thread_local uint64_t state;
static _Thread_local int seeded;

void rng_system(void *p, size_t n) {
    CHECK(n <= 256);
    CHECK(getrandom(p, n, 0) == (ssize_t)n);
}

void rng_seed(uint64_t seed) {
    state = seed;
    seeded = 1;
}

uint64_t rng_u64(void) {
    if (unlikely(!seeded)) {
        rng_system(&state, sizeof(state));
        seeded = 1;
    }
    uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

uint64_t rng_below(uint64_t n) {
    return (uint64_t)(((unsigned __int128)rng_u64() * n) >> 64);
}
