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

/* A call that has run touched sampled keys, or its turn has come to be looked at; its keys' shards are still locked. */
void sighting_call_slow(struct call *c, struct worker *w);
/* The same for any call with keys. One test of the first key's hash and one counter. */
static inline void sighting_call(struct call *c, struct worker *w) {
    if (c->nkeys > 0) {
        bool hot = --w->hot_skip <= 0, sampled = mini_draw(c->keys[0].hash) < w->sample_below;
        if (unlikely(hot || sampled || c->nkeys > 1)) {
            sighting_call_slow(c, w);
        }
    }
}
/* HOTKEYS is on: what the call cost, and its reply of so many bytes. */
void sighting_charge(const struct call *c, struct worker *w, uint64_t ticks, size_t reply_bytes);
