/* SPDX-License-Identifier: BSD-3-Clause */
/* stat: one counter that others may read while it is written. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t stat_t;

/* Owner only: no lock prefix, one add to memory. */
#define STAT_ADD(s, n)                                                                             \
    atomic_store_explicit(&(s), atomic_load_explicit(&(s), memory_order_relaxed) + (uint64_t)(n),  \
                          memory_order_relaxed)
/* A gauge; owner only. Or a counter that begins anew; any thread, what is counted meanwhile may be lost. */
#define STAT_SET(s, n) atomic_store_explicit(&(s), (uint64_t)(n), memory_order_relaxed)
/* Any thread. */
#define STAT_COUNT(s, n) atomic_fetch_add_explicit(&(s), (uint64_t)(n), memory_order_relaxed)
#define STAT_GET(s) atomic_load_explicit(&(s), memory_order_relaxed)
