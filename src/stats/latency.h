/* SPDX-License-Identifier: BSD-3-Clause */
/* latency: the last slow moments of each kind of event (LATENCY LATEST, HISTORY). Any thread; lock SLOWLOG. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "src/base/slice.h"

enum { LATENCY_SAMPLES = 160 };

struct latency_sample {
    int64_t time_s;
    uint64_t ms;
};
struct latency_event {
    const char *name; /* static */
    struct latency_sample samples[LATENCY_SAMPLES];
    size_t count, next;
    uint64_t max_ms;
};

struct latency;
struct latency *latency_create(void);
void latency_destroy(struct latency **l);
/* event is a static string. Samples of one second are merged to their maximum. */
void latency_add(struct latency *l, const char *event, int64_t time_s, uint64_t ms);
/* fn is called under the lock for every event, or for the one named; must only copy. */
void latency_each(struct latency *l, const char *only, void (*fn)(void *ctx, const struct latency_event *e),
                  void *ctx);
/* Forgets the named events (all when n is 0); returns how many there were. */
size_t latency_reset(struct latency *l, const struct slice *names, size_t n);
