/* SPDX-License-Identifier: BSD-3-Clause */
/* sighting: what calls and the cron tell src/sight. */
#pragma once

#include "src/base/check.h"
#include "src/server/worker.h"
#include "src/sight/sight.h"

struct conf;
struct server;

/* Before the first call. */
struct sight *sighting_open(struct server *srv, const struct conf *conf);
/* Worker 0, by its cron. */
void sighting_tick(struct server *srv, const struct conf *conf, int64_t now_ms);

/* A call with sampled keys, or several, has run; its keys' shards are still locked. Nothing when it parks: it runs once more. */
void sighting_call_slow(struct call *c, struct worker *w, enum err e);
/* The same for any call. one_key: it has a single one, as nearly all have: four instructions. */
static ALWAYS_INLINE void sighting_call(struct call *c, struct worker *w, enum err e, bool one_key) {
    if (one_key ? unlikely(mini_draw(c->keys[0].hash) < w->sample_below) : c->nkeys > 0) {
        sighting_call_slow(c, w, e);
    }
}
/* Which of so many calls that are about to run is to be looked at for hot keys, one at most; n: none of them. So the choice costs a
 * window of calls something, and not each call. */
static inline unsigned sighting_place(struct worker *w, unsigned n) {
    unsigned place = w->hot_skip < n ? w->hot_skip : n;
    w->hot_skip -= place;
    return place;
}
/* That call, when its turn is over; its arguments may be gone. */
void sighting_hot(const struct call *c, struct worker *w);
/* HOTKEYS is on: what the call cost, and its reply of so many bytes. */
void sighting_charge(const struct call *c, struct worker *w, uint64_t ticks, size_t reply_bytes);
