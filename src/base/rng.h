/* SPDX-License-Identifier: BSD-3-Clause */
/* rng: a fast generator per thread (splitmix64, Steele et al. 2014). Not for secrets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* This thread's next 64 random bits; seeded from the system at first use. */
uint64_t rng_u64(void);
/* Uniform in [0, n), n > 0. */
uint64_t rng_below(uint64_t n);
/* Fixes this thread's sequence: tests. */
void rng_seed(uint64_t seed);
/* Fills p with bytes from the system's generator: hash seeds, run ids. */
void rng_system(void *p, size_t n);
