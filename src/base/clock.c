/* SPDX-License-Identifier: BSD-3-Clause */
/* clock: wall, monotonic and tick time. */
#include "src/base/clock.h"

#include <stdatomic.h>
#include <time.h>

static _Atomic int64_t wall_offset_ms;
static double us_per_tick = 0.001;

static int64_t read_us(clockid_t id) {
    struct timespec ts;
    clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_now_us(void) {
    return read_us(CLOCK_REALTIME) +
           atomic_load_explicit(&wall_offset_ms, memory_order_relaxed) * 1000;
}

int64_t clock_now_ms(void) {
    return clock_now_us() / 1000;
}

int64_t clock_mono_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

int64_t clock_thread_us(void) {
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

void clock_advance_ms(int64_t delta_ms) {
    atomic_fetch_add_explicit(&wall_offset_ms, delta_ms, memory_order_relaxed);
}

void clock_init(void) {
    int64_t us0 = clock_mono_us();
    uint64_t t0 = clock_ticks();
    int64_t us1;
    do {
        us1 = clock_mono_us();
    } while (us1 - us0 < 2000);
    us_per_tick = (double)(us1 - us0) / (double)(clock_ticks() - t0);
}

uint64_t clock_ticks_to_us(uint64_t ticks) {
    return (uint64_t)((double)ticks * us_per_tick);
}

uint64_t clock_us_to_ticks(uint64_t us) {
    return (uint64_t)((double)us / us_per_tick);
}
