/* SPDX-License-Identifier: BSD-3-Clause */
/* clock: the only reader of time. Wall time can be moved by tests (DEBUG CLOCK); monotonic time and
 * ticks cannot. Any thread. */
#pragma once

#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Milliseconds and microseconds since 1970, plus the offset set by clock_advance_ms. */
int64_t clock_now_ms(void);
int64_t clock_now_us(void);
/* Microseconds of a clock that never steps. */
int64_t clock_mono_us(void);
/* Microseconds of processor time that this thread has used. */
int64_t clock_thread_us(void);
/* Moves wall time forward (or back) by delta for every later clock_now_*: tests only. */
void clock_advance_ms(int64_t delta_ms);

/* Cheap, unserialised time stamps for measuring short spans; convert differences only. */
static inline uint64_t clock_ticks(void) {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return (uint64_t)clock_mono_us() * 1000;
#endif
}

/* Measures the tick rate against the monotonic clock, once, in about two milliseconds. */
void clock_init(void);
/* Microseconds and ticks of a difference of ticks. clock_init must have run. */
uint64_t clock_ticks_to_us(uint64_t ticks);
uint64_t clock_us_to_ticks(uint64_t us);
