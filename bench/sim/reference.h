/* SPDX-License-Identifier: BSD-3-Clause */
/* reference: textbook caches beside which the tier's policies are judged; exact, with lists, and slow. */
#pragma once

#include "bench/sim/sim.h"

/* Exact least recently used. */
extern const struct sim_kind reference_lru;
/* S3-FIFO as in its paper (Yang et al., SOSP'23): small queue of a tenth, promoted when read twice, ghost as large as main. */
extern const struct sim_kind reference_s3fifo;
/* The same, promoted when read once. */
extern const struct sim_kind reference_s3fifo_eager;
/* Evicts what is wanted again last (Belady): no policy misses less where items are alike; a guide where they are not. */
extern const struct sim_kind reference_belady;
